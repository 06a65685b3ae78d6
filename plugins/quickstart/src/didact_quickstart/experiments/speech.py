"""data2vec 2.0 on synthetic voices, in a minute.

A minute does not teach the first convolutions of a waveform, so frames start as filter banks; to see them learned,
take `ConvWaveform` and more steps.

Command: didact run speech.py, where `voices-train` and `voices-test` are stores; `didact quickstart` makes them.
"""

from didact import Cosine, Experiment, Training, samples
from didact_distill import ConvDecoder, EMATeacher, LatentRegression, TopKTargets
from didact_evaluate import Probe
from didact_speech import MelFilterbank, SpanMasker, Waveforms
from didact_transformer import Transformer

train = Waveforms(store="voices-train", sample_rate_hz=8_000, min_seconds=None)

experiment = Experiment(
    name="quickstart-speech",
    source=train,
    encoder=MelFilterbank(
        width=96, bands=40, window=200, hop=80, position_depth=3, position_kernel=9, positions_see="zeros"
    ),
    masker=SpanMasker(probability=1.0, length=5, masks=4, corruption="drop"),
    backbone=Transformer(width=96, depth=4, heads=4, input_norm=True, dropout=0.0, attention_dropout=0.0),
    targets=TopKTargets(
        k=3,
        normalize="instance",
        normalize_average="layer",
        teacher=EMATeacher(start=0.99, end=0.999, anneal_steps=None, shares="nothing"),
    ),
    objective=LatentRegression(head=ConvDecoder(width=96, layers=3, kernel=7)),
    training=Training(
        steps=300,
        workers=0,  # reading costs less than starting a process that reads
        batch=samples(32),
        learning_rate=2e-3,
        schedule=Cosine(warmup_steps=40),
        weight_decay=0.01,
        clip_norm=4.0,
    ),
    evaluations={
        "probe": Probe(train=train, test=Waveforms(store="voices-test", sample_rate_hz=8_000, min_seconds=None))
    },
)
