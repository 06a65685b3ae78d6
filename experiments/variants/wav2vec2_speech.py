"""wav2vec 2.0 on spoken digits, sized for two CPU cores.

Claim: a small Transformer learns by identifying the quantised latent of a masked frame among those of other masked
    frames, with a codebook learned at the same time (Baevski et al. 2020). It differs from experiments/small/speech.py
    in targets and masks: quantised latents, and one mask that hides frames. The quantised latents are filter-bank
    frames; convolutions of the waveform need more training than this.
Cost: 12 minutes on one core of an AMD EPYC with bfloat16 instructions, evaluations included, 0.29 s per step; the other
    core was busy.
Expected: accuracy in percent on one held-out speaker (theo), torch 2.14, seed 0: linear 88.6 (random network 87.8, raw
    80.0: no gain), 20-NN 84.8 (65.6, 58.8). 34 of 80 codes are used. Measured before samples came in today's order,
    before schedules reached their final value at the last step and before position tables were exempt from weight
    decay.
Command:
    didact ingest audio fsdd.tar --pattern '(?P<label>\\d)_(?P<speaker>[a-z]+)_' --out stores/fsdd
    didact run experiments/variants/wav2vec2_speech.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_masked import Contrastive, QuantizedTargets
from didact_speech import MelFilterbank, SpanMasker, Waveforms
from didact_transformer import Transformer

digits = Waveforms(store="fsdd", sample_rate_hz=8_000, max_seconds=None, min_seconds=None)
heard, unheard = digits.evolve(where="speaker != theo"), digits.evolve(where="speaker == theo")

experiment = Experiment(
    name="wav2vec2-speech",
    source=heard.evolve(max_seconds=0.6, min_seconds=0.25),
    encoder=MelFilterbank(
        width=160, bands=40, window=200, hop=80, position_depth=3, position_kernel=9, positions_see="zeros"
    ),
    masker=SpanMasker(probability=0.65, length=5),
    backbone=Transformer(width=160, depth=6, heads=5, norm="post", input_norm=True, dropout=0.0, attention_dropout=0.0),
    targets=QuantizedTargets(width=64, groups=2, codes=40, decay=0.9993, dropout=0.0),
    objective=Contrastive(distractors=20),
    training=Training(
        steps=2_000,
        batch=BatchSize.seconds(24),
        optimizer=AdamW(learning_rate=1e-3, betas=(0.9, 0.98), epsilon=1e-6, weight_decay=0.01),
        schedule=Cosine(warmup_steps=50),
        max_grad_norm=4.0,
    ),
    evaluations={
        "digits": Probe(train=heard, test=unheard, pooling="mean+std"),
        "health": RepresentationMetrics(),
    },
    observers=(Doctor(), Aim()),
)
