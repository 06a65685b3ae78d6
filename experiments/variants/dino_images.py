"""DINO on CIFAR-10's images, for two cores and minutes.

Claim: a small Transformer learns to find in small crops the prototypes that its moving average finds in large ones
    (Caron et al. 2021). What differs from experiments/small/images.py is the method, views in the place of masks and
    their decoder, and with it the batch and the learning rate. The four small views have 16 × 16 pixels, since images
    have 32 × 32.
Cost: 800 steps are ten minutes on two cores of an AMD EPYC with bfloat16 instructions, 0.75 s each, as `didact bench`
    measured with nothing beside it.
Expected: accuracy in percent on 3 000 test images, as experiments/ablations/methods_images.py gave it with seeds 0,
    1, 2 and torch 2.14: linear 50.9, 48.8, 50.2 (same network at random initialisation 46.7, 47.4, 46.9), 20-NN
    38.7, 38.0, 36.8 (28.3, 27.6, 27.1).
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact run experiments/variants/dino_images.py
"""

from didact import Cosine, Experiment, Training, samples
from didact_aim import Aim
from didact_distill import EMATeacher
from didact_evaluate import Health, Probe
from didact_transformer import Transformer
from didact_views import DistortedViews, Projected, PrototypeCrossEntropy, PrototypeHead, PrototypeTargets
from didact_vision import Images, Patches

train = Images(store="cifar10-train", size=32, augmentation=DistortedViews.dino(local_views=4, local_size=16, blur=0.0))

experiment = Experiment(
    name="dino-images",
    source=train,
    encoder=Patches(width=160, patch=4),
    backbone=Projected(
        backbone=Transformer(
            width=160,
            depth=6,
            heads=5,
            norm="post",
            norm_epsilon=1e-6,
            input_norm=True,
            dropout=0.0,
            attention_dropout=0.0,
        ),
        projector=PrototypeHead(hidden=512, bottleneck=128, prototypes=2048, norm="batch"),
    ),
    targets=PrototypeTargets(
        teacher=EMATeacher(start=0.99, end=1.0, anneal_steps=None, course="cosine", shares="nothing"),
        end=0.04,
        warmup_steps=0,
    ),
    objective=PrototypeCrossEntropy(),
    training=Training(
        steps=800,
        batch=samples(64),
        learning_rate=5e-4,
        schedule=Cosine(warmup_steps=70),
        betas=(0.9, 0.95),
        epsilon=1e-8,
        weight_decay=0.05,
        clip_norm=4.0,
    ),
    evaluations={
        "classes": Probe(train=train, test=Images(store="cifar10-test", size=32)),
        "health": Health(),
    },
    observers=(Aim(),),
)
