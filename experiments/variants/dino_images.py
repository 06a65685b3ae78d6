"""DINO on CIFAR-10, sized for two CPU cores and ten minutes.

Claim: a small Transformer learns to assign small crops to the prototypes to which its moving average assigns large
    crops of the same image (Caron et al. 2021). It differs from experiments/small/images.py in the method, which
    compares views and has no masks or decoder, and therefore in batch size and learning rate. Images have 32 × 32
    pixels, so the four small views have 16 × 16.
Cost: 800 steps take ten minutes on two cores of an AMD EPYC with bfloat16 instructions, 0.75 s each, measured by
    `didact bench` on an otherwise idle machine.
Expected: accuracy in percent on 3 000 test images, from experiments/ablations/methods_images.py with seeds 0, 1, 2 and
    torch 2.14: linear 50.9, 48.8, 50.2 (random network 46.7, 47.4, 46.9), 20-NN 38.7, 38.0, 36.8 (28.3, 27.6, 27.1).
    Measured before samples came in today's order, before schedules reached their final value at the last step and
    before position tables were exempt from weight decay.
    With the rising weight decay and the frozen last layer (`published`), 250 steps took seven and a half minutes with
    one thread, 36 images per second; seed 0: linear 49.2 (random network 46.7, pixels 41.1), 20-NN 32.6 (28.3, 41.4).
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact run experiments/variants/dino_images.py
    didact run experiments/variants/dino_images.py:published
"""

from didact import AdamW, BatchSize, Cosine, Experiment, ParameterGroup, Training
from didact_aim import Aim
from didact_distill import EMATeacher
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_transformer import Transformer
from didact_views import MultiViewAugmentation, Projected, PrototypeCrossEntropy, PrototypeHead, PrototypeTargets
from didact_vision import Images, Patches

train = Images(
    store="cifar10-train", size=32, augmentation=MultiViewAugmentation.dino(local_views=4, local_size=16, blur=0.0)
)

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
        teacher=EMATeacher(start=0.99, end=1.0, anneal_steps=None, schedule="cosine", share="nothing"),
        end=0.04,
        warmup_steps=0,
    ),
    objective=PrototypeCrossEntropy(),
    training=Training(
        steps=800,
        batch=BatchSize.samples(64),
        optimizer=AdamW(learning_rate=5e-4, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.05),
        schedule=Cosine(warmup_steps=70),
        max_grad_norm=4.0,
    ),
    evaluations={
        "classes": Probe(train=train, test=Images(store="cifar10-test", size=32)),
        "health": RepresentationMetrics(),
    },
    observers=(Doctor(), Aim()),
)

# as published: the weight decay rises from 0.04 to 0.4, and the prototypes are frozen in the first steps
published = experiment.evolve(
    **{
        "name": "dino-published-images",
        "training.steps": 250,
        "training.optimizer.weight_decay": 0.4,
        "training.weight_decay_schedule": Cosine(initial=0.1, final=1.0),
        "training.parameter_groups": (
            ParameterGroup(parameters="network.backbone.projector.prototypes", frozen_steps=50),
        ),
    }
)
