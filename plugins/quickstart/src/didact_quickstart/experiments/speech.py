"""data2vec on synthetic voices, in a minute.

Command: didact run speech.py, where `voices-train` and `voices-test` are stores; `didact quickstart` makes them.
"""

from didact import Cosine, Experiment, Training, samples
from didact_distill import EMATeacher, LatentRegression, LinearHead, TopKTargets
from didact_evaluate import Probe
from didact_speech import ConvWaveform, SpanMasker, Waveforms
from didact_transformer import Transformer

STEPS = 250

train = Waveforms(store="voices-train", sample_rate_hz=8_000, min_seconds=None)

experiment = Experiment(
    name="quickstart-speech",
    source=train,
    encoder=ConvWaveform(
        width=96,
        channels=96,
        layers=((10, 5), (3, 2), (3, 2), (3, 2), (2, 2)),  # 10 ms
        position_depth=3,
        position_kernel=9,
    ),
    masker=SpanMasker(probability=0.65, length=5),
    backbone=Transformer(width=96, depth=4, heads=4, input_norm=True, dropout=0.0, attention_dropout=0.0),
    targets=TopKTargets(k=3, teacher=EMATeacher(start=0.99, end=0.999, anneal_steps=STEPS)),
    objective=LatentRegression(head=LinearHead()),
    training=Training(
        steps=STEPS,
        workers=0,  # reading costs less than starting a process that reads
        batch=samples(32),
        learning_rate=1e-3,
        schedule=Cosine(warmup_steps=40),
        weight_decay=0.01,
    ),
    evaluations={
        "probe": Probe(train=train, test=Waveforms(store="voices-test", sample_rate_hz=8_000, min_seconds=None))
    },
)
