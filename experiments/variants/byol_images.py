"""BYOL on CIFAR-10, sized for two CPU cores and ten minutes.

Claim: a small Transformer learns by predicting what its own moving average computes from another view of the image
    (Grill et al. 2020). It differs from experiments/small/images.py in the method, which compares views and has no
    masks or decoder, and therefore in batch size and learning rate.
Cost: 1,400 steps take ten minutes on two cores of an AMD EPYC with bfloat16 instructions, 0.43 s each, measured by
    `didact bench` on an otherwise idle machine.
Expected: accuracy in percent on 3 000 test images, from experiments/ablations/methods_images.py with seeds 0, 1, 2 and
    torch 2.14: linear 51.0, 50.5, 51.6 (random network 46.7, 47.4, 47.0), 20-NN 38.4, 35.8, 38.2 (28.3, 27.6, 27.1).
    Measured before samples came in today's order, before schedules reached their final value at the last step and
    before position tables were exempt from weight decay.
    With LARS (`published`), 250 steps and the evaluations took 511 s of processor time with one thread; seed 0: linear
    43.3 (random network 46.7, pixels 41.1), 20-NN 27.8 (28.3, 41.4). So few steps of 64 images do not help; the paper
    takes 4,096 images in a step.
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact run experiments/variants/byol_images.py
    didact run experiments/variants/byol_images.py:published
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_distill import EMATeacher
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_optimizers import LARS
from didact_transformer import Transformer
from didact_views import MLP, MultiViewAugmentation, NegativeCosineSimilarity, Projected, TeacherProjections
from didact_vision import Images, Patches

train = Images(store="cifar10-train", size=32, augmentation=MultiViewAugmentation.byol(blur=0.0))

experiment = Experiment(
    name="byol-images",
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
        projector=MLP(hidden=1024, out=128),
    ),
    targets=TeacherProjections(
        teacher=EMATeacher(start=0.97, end=1.0, anneal_steps=None, schedule="cosine", share="nothing"),
    ),
    objective=NegativeCosineSimilarity(hidden=1024),
    training=Training(
        steps=1_400,
        batch=BatchSize.samples(64),
        optimizer=AdamW(learning_rate=1e-3, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.05),
        schedule=Cosine(warmup_steps=70),
        max_grad_norm=4.0,
    ),
    evaluations={
        "classes": Probe(train=train, test=Images(store="cifar10-test", size=32)),
        "health": RepresentationMetrics(),
    },
    observers=(Doctor(), Aim()),
)

# the optimizer as published, with the learning rate for large batches, as a batch of 64 images takes few steps here
published = experiment.evolve(
    **{
        "name": "byol-lars-images",
        "training.steps": 250,
        "training.optimizer": LARS(learning_rate=3.2, weight_decay=1.5e-6),
        "training.schedule.warmup_steps": 25,
        "training.max_grad_norm": None,
    }
)
