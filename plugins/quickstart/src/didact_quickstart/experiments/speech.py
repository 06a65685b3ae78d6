"""data2vec 2.0 on synthetic voices, in a minute.

A minute is too short to train the first convolutions of a waveform, so frames start as filter banks. To train them, use
`ConvWaveform` and more steps.

Command: didact run speech.py, with the stores `voices-train` and `voices-test` that `didact quickstart` creates.
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
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
    masker=SpanMasker(probability=1.0, length=5, masks=2, corruption="drop"),
    backbone=Transformer(width=96, depth=4, heads=4, input_norm=True, dropout=0.0, attention_dropout=0.0),
    targets=TopKTargets(
        k=3,
        normalize="instance",
        normalize_average="layer",
        teacher=EMATeacher(start=0.97, end=0.99, anneal_steps=None, share="nothing"),
    ),
    objective=LatentRegression(head=ConvDecoder(width=96, layers=3, kernel=7)),
    training=Training(
        steps=220,
        num_workers=0,  # reading takes less time than starting a worker
        batch=BatchSize.samples(32),
        optimizer=AdamW(learning_rate=2e-3, weight_decay=0.01),
        schedule=Cosine(warmup_steps=40),
        max_grad_norm=4.0,
    ),
    evaluations={
        "probe": Probe(train=train, test=Waveforms(store="voices-test", sample_rate_hz=8_000, min_seconds=None))
    },
)
