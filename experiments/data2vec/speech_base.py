"""data2vec on raw speech, base size, LibriSpeech 960 h.

Claim: a student that sees an utterance with half of its frames masked, and predicts what its own moving average
    computes from the whole utterance, learns speech from 960 hours without transcripts (Baevski et al. 2022, data2vec,
    §4.2 and §5.2; settings of the released code, which produced the paper's numbers). One setting differs: the released
    optimizer decays every parameter; didact's exempts biases and norms.
Cost: 400 000 steps of 63 minutes of audio; released with 16 GPUs of 3.8 million samples each.
Expected: not reproduced here. The released model's card gives a word error rate of 2.8 and 7.1 on test-clean and
    test-other after fine-tuning on all 960 h, without a language model.
Command:
    didact ingest audio LibriSpeech/train-* --out stores/librispeech-960h
    didact run experiments/data2vec/speech_base.py
"""

from didact import AdamW, BatchSize, Experiment, Training
from didact_distill import EMATeacher, LatentRegression, LinearHead, TopKTargets, TriStage
from didact_doctor import Doctor
from didact_evaluate import Visualizations
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
        teacher=EMATeacher(start=0.999, end=0.9999, anneal_steps=30_000, share="encoder"),
    ),
    objective=LatentRegression(head=LinearHead(), beta=0.0, scale="1/sqrt(width)"),
    training=Training(
        steps=400_000,
        batch=BatchSize.seconds(3_800),  # 16 × 3.8 million samples
        optimizer=AdamW(learning_rate=5e-4, betas=(0.9, 0.98), epsilon=1e-6, weight_decay=0.01),
        schedule=TriStage(warmup=0.03, hold=0.9, initial=0.01, final=0.01),
        gradient_accumulation_steps=16,
        num_workers=16,
        checkpoint_every=10_000,
        evaluate_every=50_000,
    ),
    evaluations={"pictures": Visualizations(samples=4, pool=16)},
    observers=(Doctor(),),
)
