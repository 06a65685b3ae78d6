"""I-JEPA on CIFAR-10, sized for one CPU core and a few minutes.

Claim: a small Transformer learns by predicting, from one context, what its moving average computes in four target
    blocks of an image (Assran et al. 2023), with crops and flips as the only augmentation.
Cost: 400 steps and the evaluations took 250 s of processor time on an AMD EPYC with bfloat16 instructions, with one
    thread.
Expected: accuracy in percent on 3 000 test images, one run with seed 0 and torch 2.14: linear 42.5 (random network
    39.8, pixels 41.1), 20-NN 25.8 (27.1, 41.4). So few steps are not enough: the features have an effective rank of 5,
    and by nearest neighbours they are no better than those of the random network.
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact run experiments/variants/i_jepa_images.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_distill import EMATeacher, LatentRegression, TopKTargets
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_masked import BlockPredictor
from didact_transformer import Transformer
from didact_vision import Images, MultiBlockMasker, Patches, RandomCrop

train = Images(store="cifar10-train", size=32, augmentation=RandomCrop(scale=(0.4, 1.0)))
blocks = Transformer(
    width=96,
    depth=4,
    heads=3,
    norm="post",
    norm_epsilon=1e-6,
    input_norm=True,
    dropout=0.0,
    attention_dropout=0.0,
)

experiment = Experiment(
    name="i-jepa-images",
    source=train,
    encoder=Patches(width=96, patch=4, class_token=False),
    masker=MultiBlockMasker(),
    backbone=blocks,
    targets=TopKTargets(
        k=1,
        feature="block",
        normalize="layer",
        teacher=EMATeacher(start=0.99, end=1.0, anneal_steps=None, share="nothing"),
    ),
    objective=LatentRegression(
        head=BlockPredictor(width=48, backbone=blocks.evolve(width=48, depth=2, heads=3)), beta=1.0, scale="1/width"
    ),
    training=Training(
        steps=400,
        batch=BatchSize.samples(64),
        optimizer=AdamW(learning_rate=1e-3, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.05),
        schedule=Cosine(warmup_steps=50),
        max_grad_norm=4.0,
    ),
    evaluations={
        "classes": Probe(train=train, test=Images(store="cifar10-test", size=32)),
        "health": RepresentationMetrics(),
    },
    observers=(Doctor(), Aim()),
)
