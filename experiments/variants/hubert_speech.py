"""HuBERT on spoken digits, for two cores and minutes: its first iteration.

Claim: a small Transformer learns from predicting which cluster of MFCCs a masked frame belongs to (Hsu et al. 2021).
    What differs from experiments/small/speech.py is what is predicted; and frames are hidden, one mask each. With
    `targets.descriptor` an `EarlierLayer` of this run, it is the second iteration.
Cost: 14 minutes on one core of an AMD EPYC with bfloat16 instructions, evaluations included, 0.34 s per step, while the
    machine was busy with more.
Expected: accuracy in percent on the held-out speaker, as run there with torch 2.14 and seed 0: linear 93.4, 20-NN 80.2.
    The same network at random initialisation: 87.8 and 65.6. Raw features: 80.0 and 58.8. With 500 steps in all: 95.6
    and 84.0.
Command:
    didact ingest audio fsdd.tar --pattern '(?P<label>\\d)_(?P<speaker>[a-z]+)_' --out stores/fsdd
    didact cluster experiments/variants/hubert_speech.py
    didact run experiments/variants/hubert_speech.py
"""

from didact import Cosine, Experiment, Training, seconds
from didact_aim import Aim
from didact_evaluate import Health, Probe
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
    targets=ClusterTargets(codebook="codebooks/fsdd-mfcc.npz", descriptor=MFCC(), clusters=100),
    objective=MaskedCrossEntropy(head=CosineHead(width=64)),
    training=Training(
        steps=2_000,
        batch=seconds(24),
        learning_rate=1e-3,
        schedule=Cosine(warmup_steps=50),
        betas=(0.9, 0.98),
        epsilon=1e-6,
        weight_decay=0.01,
        clip_norm=4.0,
    ),
    evaluations={
        "digits": Probe(train=heard, test=unheard, pooling="mean+std"),
        "health": Health(),
    },
    observers=(Aim(),),
)
