"""SimSiam on CIFAR-10, sized for two CPU cores and ten minutes.

Claim: a small Transformer learns by predicting what it computes itself from another view of the image, without a moving
    average (Chen & He 2021). It differs from experiments/small/images.py in the method, which compares views and has no
    masks or decoder, and therefore in batch size and learning rate.
Cost: 1,750 steps take ten minutes on two cores of an AMD EPYC with bfloat16 instructions, 0.34 s each, measured by
    `didact bench` on an otherwise idle machine.
Expected: accuracy in percent on 3 000 test images, from experiments/ablations/methods_images.py with seeds 0, 1, 2 and
    torch 2.14: linear 51.0, 50.2, 52.2 (random network 46.7, 47.4, 47.0), 20-NN 39.6, 39.4, 40.6 (28.3, 27.6, 27.1). At
    a learning rate of 1e-3 with a predictor of width 256 it collapsed within 150 steps, to features of rank 2 and
    linear 28.9. Measured before samples came in today's order, before schedules reached their final value at the last
    step and before position tables were exempt from weight decay.
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact run experiments/variants/simsiam_images.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_transformer import Transformer
from didact_views import MLP, MultiViewAugmentation, NegativeCosineSimilarity, Projected, StudentProjections
from didact_vision import Images, Patches

train = Images(store="cifar10-train", size=32, augmentation=MultiViewAugmentation.simsiam(blur=0.0))

experiment = Experiment(
    name="simsiam-images",
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
        projector=MLP(layers=3, hidden=1024, out=1024, output_norm="batch"),
    ),
    targets=StudentProjections(gradient="stop"),
    objective=NegativeCosineSimilarity(hidden=1024),
    training=Training(
        steps=1_750,
        batch=BatchSize.samples(64),
        optimizer=AdamW(learning_rate=3e-4, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.05),
        schedule=Cosine(warmup_steps=70),
        max_grad_norm=4.0,
    ),
    evaluations={
        "classes": Probe(train=train, test=Images(store="cifar10-test", size=32)),
        "health": RepresentationMetrics(),
    },
    observers=(Doctor(), Aim()),
)
