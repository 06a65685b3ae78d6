"""data2vec on raw speech, base size, LibriSpeech 960 h.

Claim: a student that hears half of an utterance, and predicts what its own moving average makes of the whole, learns
    speech from 960 hours without a transcript (Baevski et al. 2022, data2vec, §4.2 and §5.2; settings of the released
    code, which the paper's numbers come from).
Cost: 400 000 steps of 63 minutes of sound; released with 16 GPUs of 3.8 million samples each.
Expected: word error rate 2.8 and 7.1 on test-clean and test-other after fine-tuning on all 960 h, without a language
    model, says the released model's card; not reproduced here.
Command:
    didact ingest audio LibriSpeech/train-* --out stores/librispeech-960h
    didact run experiments/data2vec/speech_base.py
"""

from didact import Experiment, Training, TriStage, seconds
from didact_distill import EMATeacher, LatentRegression, LinearHead, TopKTargets
from didact_evaluate import Pictures
from didact_speech import ConvWaveform, SpanMasker, Waveforms
from didact_transformer import Transformer

experiment = Experiment(
    name="data2vec-speech-base",
    source=Waveforms(store="librispeech-960h", max_seconds=20.0, min_seconds=2.0),
    encoder=ConvWaveform(width=768),
    masker=SpanMasker(probability=0.65, length=10),
    backbone=Transformer(
        width=768,
        depth=12,
        heads=12,
        norm="post",
        input_norm=True,
        input_dropout=0.1,
        dropout=0.1,
        attention_dropout=0.1,
        layer_drop=0.05,
    ),
    targets=TopKTargets(
        k=8,
        feature="ffn",
        normalize="instance",
        teacher=EMATeacher(start=0.999, end=0.9999, anneal_steps=30_000, shares="encoder"),
    ),
    objective=LatentRegression(head=LinearHead(), beta=0.0, scale="1/sqrt(width)"),
    training=Training(
        steps=400_000,
        batch=seconds(3_800),  # 16 × 3.8 million samples
        learning_rate=5e-4,
        schedule=TriStage(warmup=0.03, hold=0.9, initial=0.01, final=0.01),
        betas=(0.9, 0.98),
        epsilon=1e-6,
        weight_decay=0.01,
        decay_vectors=True,
        micro_batches=16,
        workers=16,
        checkpoint_every=10_000,
        evaluate_every=50_000,
    ),
    evaluations={"pictures": Pictures(samples=4, pool=16)},
)
