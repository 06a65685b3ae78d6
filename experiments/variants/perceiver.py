"""data2vec on Perceiver IO: images, speech and text with one experiment, except for its source.

Claim: data2vec's authors left open whether one architecture can serve all modalities. Here one encoder, masker,
    backbone and objective with the same settings read pixels, audio samples and bytes of text; none depends on the
    modality.
Cost: 3,200 steps take ten minutes on two cores of an AMD EPYC with bfloat16 instructions, 0.19 s each, measured by
    `didact bench` on an otherwise idle machine.
Expected: images: accuracy in percent on 3 000 test images, from experiments/ablations/methods_images.py with seed 0 and
    torch 2.14: linear 45.6 (random network 41.4), 20-NN 37.9 (28.8). With backbone.queries=positions, after 300 steps
    of 48 images, linear 35.1 (33.3): targets varied between positions (spread 1.01) and hardly between images (0.22).
    speech, after 100 steps of 16, which are far too few (evaluations.classes.limit=1000, then drawn without regard to
    classes): linear 34.2 (random network 30.2, log-mel 77.6), 20-NN 22.2 (25.4). text: 20 steps run; no accuracy was
    measured. Measured before samples came in today's order, before schedules reached their final value at the last step
    and before position tables were exempt from weight decay.
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact ingest audio fsdd.tar --pattern '(?P<label>\\d)_(?P<speaker>[a-z]+)_' --out stores/fsdd
    didact ingest text wikitext2_a.txt wikitext2_b.txt --out stores/wikitext
    didact ingest text sst2_train.tsv --option label=2 --out stores/sst2-train
    didact ingest text sst2_dev.tsv --option label=2 --out stores/sst2-dev
    didact run experiments/variants/perceiver.py
    didact run experiments/variants/perceiver.py:speech
    didact run experiments/variants/perceiver.py:text
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Source, Training
from didact_aim import Aim
from didact_distill import EMATeacher, LatentRegression, LinearHead, TopKTargets
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_perceiver import Arrays, FourierPositions, PerceiverIO, RandomMasker
from didact_speech import Waveforms
from didact_text import ByteBPE, Sentences, TextBlocks
from didact_vision import Images, RandomCrop

positions = FourierPositions(bands=16, longest=1024)


def data2vec(name: str, source: Source, train: Source, test: Source) -> Experiment:
    """The experiment for one modality; only the training source and the probe's sources differ."""
    return Experiment(
        name=f"perceiver-{name}",
        source=source,
        encoder=Arrays(width=160, patch=4, positions=positions),
        masker=RandomMasker(cells=16, ratio=0.6),
        backbone=PerceiverIO(
            width=160,
            latents=32,
            latent_width=160,
            depth=6,
            heads=5,
            key_width=160,
            ffn_ratio=4.0,
            queries="content",
            positions=positions,
        ),
        targets=TopKTargets(
            k=4,
            feature="block",
            normalize="instance",
            normalize_average="layer",
            teacher=EMATeacher(start=0.99, end=0.999, anneal_steps=None, share="nothing"),
        ),
        objective=LatentRegression(head=LinearHead()),
        training=Training(
            steps=3_200,
            batch=BatchSize.samples(48),
            optimizer=AdamW(learning_rate=1e-3, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.05),
            schedule=Cosine(warmup_steps=100),
            max_grad_norm=4.0,
        ),
        evaluations={"classes": Probe(train=train, test=test), "health": RepresentationMetrics()},
        observers=(Doctor(), Aim()),
    )


pictures = Images(store="cifar10-train", size=32, augmentation=RandomCrop(scale=(0.4, 1.0)))
images = data2vec("images", pictures, pictures, Images(store="cifar10-test", size=32))

digits = Waveforms(store="fsdd", sample_rate_hz=8_000, max_seconds=None, min_seconds=None)
speech = data2vec(
    "speech",
    digits.evolve(where="speaker != theo", max_seconds=0.4, min_seconds=0.25),
    digits.evolve(where="speaker != theo"),
    digits.evolve(where="speaker == theo"),
)

letters = ByteBPE(store="wikitext", vocabulary_size=261)  # 256 bytes and five special tokens, no merges
text = data2vec(
    "text",
    TextBlocks(store="wikitext", tokenizer=letters, block_tokens=256, breaks="none"),
    Sentences(store="sst2-train", tokenizer=letters, max_tokens=256),
    Sentences(store="sst2-dev", tokenizer=letters, max_tokens=256),
)

experiment = images
