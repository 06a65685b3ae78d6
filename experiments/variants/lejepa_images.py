"""LeJEPA on CIFAR-10, sized for one CPU core and a few minutes.

Claim: a small Transformer learns when the projections of an image's views agree, and the projections of all images
    follow a standard normal distribution (Balestriero & LeCun 2025). There is no teacher, no stopped gradient and no
    wrong candidate.
Cost: 250 steps and the evaluations took 242 s of processor time on an AMD EPYC with bfloat16 instructions, with one
    thread.
Expected: accuracy in percent on 3 000 test images, one run with seed 0 and torch 2.14: linear 46.2 (random network
    41.0, pixels 41.1), 20-NN 34.5 (27.1, 41.4).
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact run experiments/variants/lejepa_images.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_transformer import Transformer
from didact_views import MLP, MultiViewAugmentation, Projected, SIGReg, StudentProjections
from didact_vision import Images, Patches

train = Images(
    store="cifar10-train", size=32, augmentation=MultiViewAugmentation.dino(local_views=2, local_size=16, blur=0.0)
)

experiment = Experiment(
    name="lejepa-images",
    source=train,
    encoder=Patches(width=96, patch=4),
    backbone=Projected(
        backbone=Transformer(
            width=96,
            depth=4,
            heads=3,
            norm="post",
            norm_epsilon=1e-6,
            input_norm=True,
            dropout=0.0,
            attention_dropout=0.0,
        ),
        projector=MLP(layers=3, hidden=512, out=64),
    ),
    targets=StudentProjections(gradient="flow"),
    objective=SIGReg(weight=0.05, directions=256),
    training=Training(
        steps=250,
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
