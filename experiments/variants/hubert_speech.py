"""HuBERT's first iteration on spoken digits, sized for two CPU cores.

Claim: a small Transformer learns by predicting the cluster of MFCCs to which a masked frame belongs (Hsu et al. 2021).
    It differs from experiments/small/speech.py in targets and masks: cluster ids, and one mask that hides frames. With
    an `EarlierLayer` of this run as `targets.feature`, it is the second iteration.
Cost: 14 minutes on one core of an AMD EPYC with bfloat16 instructions, evaluations included, 0.34 s per step; the other
    core was busy.
Expected: accuracy in percent on one held-out speaker (theo), torch 2.14, seed 0: linear 93.4 (random network 87.8, raw
    80.0), 20-NN 80.2 (65.6, 58.8). With 500 steps in all: 95.6 and 84.0. One speaker is no proof of a linear gain, as
    experiments/small/speech.py explains. Measured before samples came in today's order, before schedules reached their
    final value at the last step and before position tables were exempt from weight decay.
Command:
    didact ingest audio fsdd.tar --pattern '(?P<label>\\d)_(?P<speaker>[a-z]+)_' --out stores/fsdd
    didact cluster experiments/variants/hubert_speech.py
    didact run experiments/variants/hubert_speech.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_masked import MFCC, ClusterTargets, CosineHead, MaskedCrossEntropy
from didact_speech import MelFilterbank, SpanMasker, Waveforms
from didact_transformer import Transformer

digits = Waveforms(store="fsdd", sample_rate_hz=8_000, max_seconds=None, min_seconds=None)
heard, unheard = digits.evolve(where="speaker != theo"), digits.evolve(where="speaker == theo")

experiment = Experiment(
    name="hubert-speech",
    source=heard.evolve(max_seconds=0.6, min_seconds=0.25),
    encoder=MelFilterbank(
        width=160, bands=40, window=200, hop=80, position_depth=3, position_kernel=9, positions_see="zeros"
    ),
    masker=SpanMasker(probability=0.65, length=5),
    backbone=Transformer(width=160, depth=6, heads=5, norm="post", input_norm=True, dropout=0.0, attention_dropout=0.0),
    targets=ClusterTargets(codebook="codebooks/fsdd-mfcc.npz", feature=MFCC(), clusters=100),
    objective=MaskedCrossEntropy(head=CosineHead(width=64)),
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
