"""data2vec on spoken digits, for two cores and minutes.

Claim: the method of experiments/data2vec/speech_base.py, at a hundredth of its size, learns from 2 000 spoken digits
    what serves to tell the digits of a speaker that it never heard.
Cost: minutes on two cores.
Expected: see the tracked runs. The raw features are a strong control here: mean and deviation of every log-mel band.
Command:
    didact ingest audio fsdd.tar --pattern '(?P<label>\\d)_(?P<speaker>[a-z]+)_' --out stores/fsdd
    didact run experiments/small/speech.py
"""

from didact import Cosine, Experiment, Training, seconds
from didact_distill import EMATeacher, LatentRegression, LinearHead, TopKTargets
from didact_evaluate import Probe
from didact_speech import ConvWaveform, SpanMasker, Waveforms
from didact_transformer import Transformer

STEPS = 500

digits = Waveforms(store="fsdd", sample_rate_hz=8_000, max_seconds=None, min_seconds=None)
heard, unheard = digits.evolve(where="speaker != theo"), digits.evolve(where="speaker == theo")

experiment = Experiment(
    name="small-speech",
    source=heard.evolve(max_seconds=0.4, min_seconds=0.25),
    encoder=ConvWaveform(
        width=160,
        channels=160,
        layers=((10, 5), (3, 2), (3, 2), (3, 2), (3, 2)),  # a frame every 10 ms
        position_depth=3,
        position_kernel=9,
    ),
    masker=SpanMasker(probability=0.65, length=5),
    backbone=Transformer(width=160, depth=6, heads=5, norm="post", input_norm=True, dropout=0.0, attention_dropout=0.0),
    targets=TopKTargets(
        k=4,
        feature="ffn",
        normalize="instance",
        teacher=EMATeacher(start=0.99, end=0.999, anneal_steps=STEPS, shares="encoder"),
    ),
    objective=LatentRegression(head=LinearHead(), beta=0.0),
    training=Training(
        steps=STEPS,
        batch=seconds(20),
        learning_rate=1e-3,
        schedule=Cosine(warmup_steps=50),
        betas=(0.9, 0.98),
        epsilon=1e-6,
        weight_decay=0.01,
        clip_norm=4.0,
    ),
    evaluations={"digits": Probe(train=heard, test=unheard)},
)
