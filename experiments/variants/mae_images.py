"""MAE on CIFAR-10, sized for two CPU cores.

Claim: a small Transformer learns by predicting the pixels of masked patches (He et al. 2022). It differs from
    experiments/small/images.py in targets and head: normalised pixels instead of a teacher's layers, predicted by a
    Transformer with mask tokens.
Cost: 26 minutes on one core of an AMD EPYC with bfloat16 instructions, evaluations included, 0.75 s per step; the other
    core was busy.
Expected: accuracy in percent on 3 000 test images, torch 2.14, seed 0: linear 53.8 (random network 46.7, pixels 41.1),
    20-NN 41.6 (28.3, 41.4). At the learning rate of experiments/small/images.py, 3e-3, the features collapsed (linear
    15.3). Measured before samples came in today's order, before schedules reached their final value at the last step
    and before position tables were exempt from weight decay.
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact run experiments/variants/mae_images.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_distill import LatentRegression
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_masked import FeatureTargets, MaskTokenDecoder, PatchPixels
from didact_transformer import Transformer
from didact_vision import Images, Patches, RandomCrop, RandomMasker

train = Images(store="cifar10-train", size=32, augmentation=RandomCrop(scale=(0.4, 1.0)))
blocks = Transformer(
    width=160,
    depth=6,
    heads=5,
    norm="post",
    norm_epsilon=1e-6,
    input_norm=True,
    dropout=0.0,
    attention_dropout=0.0,
)

experiment = Experiment(
    name="mae-images",
    source=train,
    encoder=Patches(width=160, patch=4),
    masker=RandomMasker(ratio=0.75, corruption="drop"),
    backbone=blocks,
    targets=FeatureTargets(feature=PatchPixels()),
    objective=LatentRegression(
        head=MaskTokenDecoder(width=96, backbone=blocks.evolve(width=96, depth=2, heads=3)), scale="1/width"
    ),
    training=Training(
        steps=1_500,
        batch=BatchSize.samples(192),
        optimizer=AdamW(learning_rate=1e-3, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.05),
        schedule=Cosine(warmup_steps=100),
        max_grad_norm=4.0,
    ),
    evaluations={
        "classes": Probe(train=train, test=Images(store="cifar10-test", size=32)),
        "health": RepresentationMetrics(),
    },
    observers=(Doctor(), Aim()),
)
