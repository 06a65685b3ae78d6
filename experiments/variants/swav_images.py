"""SwAV on CIFAR-10, sized for one CPU core and a few minutes.

Claim: a small Transformer learns by predicting the prototypes to which another view of the image is assigned, where all
    prototypes get equal shares of a batch (Caron et al. 2020). The prototypes are frozen in the first steps.
Cost: 300 steps and the evaluations took 222 s of processor time on an AMD EPYC with bfloat16 instructions, with one
    thread.
Expected: accuracy in percent on 3 000 test images, one run with seed 0 and torch 2.14: linear 45.3 (random network
    41.0, pixels 41.1), 20-NN 34.3 (27.1, 41.4).
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact run experiments/variants/swav_images.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, ParameterGroup, Training
from didact_aim import Aim
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_transformer import Transformer
from didact_views import MultiViewAugmentation, Projected, PrototypeCrossEntropy, PrototypeHead, SinkhornTargets
from didact_vision import Images, Patches

train = Images(store="cifar10-train", size=32, augmentation=MultiViewAugmentation.simsiam(blur=0.0))

experiment = Experiment(
    name="swav-images",
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
        projector=PrototypeHead(layers=2, hidden=512, bottleneck=128, prototypes=256, norm="batch", activation="relu"),
    ),
    targets=SinkhornTargets(),
    objective=PrototypeCrossEntropy(temperature=0.1),
    training=Training(
        steps=300,
        batch=BatchSize.samples(64),
        optimizer=AdamW(learning_rate=1e-3, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.05),
        schedule=Cosine(warmup_steps=50),
        max_grad_norm=4.0,
        parameter_groups=(ParameterGroup(parameters="network.backbone.projector.prototypes", frozen_steps=50),),
    ),
    evaluations={
        "classes": Probe(train=train, test=Images(store="cifar10-test", size=32)),
        "health": RepresentationMetrics(),
    },
    observers=(Doctor(), Aim()),
)
