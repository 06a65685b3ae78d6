"""VICReg on CIFAR-10's images, for two cores and minutes.

Claim: two views of an image whose summaries agree, vary and are not correlated (Bardes et al. 2022) teach a small
    Transformer what its random initialisation does not have, without any teacher. What differs from
    experiments/small/images.py is the method, views in the place of masks and their decoder, and with it the batch
    and the learning rate.
Cost: 1,750 steps are ten minutes on two cores of an AMD EPYC with bfloat16 instructions, 0.35 s each, as `didact bench`
    measured with nothing beside it.
Expected: accuracy in percent on 3 000 test images, as experiments/ablations/methods_images.py gave it with seeds 0,
    1, 2 and torch 2.14: linear 54.0, 54.5, 55.4 (same network at random initialisation 46.7, 47.4, 46.9), 20-NN
    47.4, 47.2, 49.5 (28.3, 27.6, 27.1).
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact run experiments/variants/vicreg_images.py
"""

from didact import Cosine, Experiment, Training, samples
from didact_aim import Aim
from didact_evaluate import Health, Probe
from didact_transformer import Transformer
from didact_views import MLP, DistortedViews, Projected, StudentSummaries, VICReg
from didact_vision import Images, Patches

train = Images(store="cifar10-train", size=32, augmentation=DistortedViews.vicreg(blur=0.0))

experiment = Experiment(
    name="vicreg-images",
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
        projector=MLP(layers=3, hidden=1024, out=256),
    ),
    targets=StudentSummaries(gradient="flow"),
    objective=VICReg(),
    training=Training(
        steps=1_750,
        batch=samples(64),
        learning_rate=1e-3,
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
