"""Supervised training on CIFAR-10, sized for one CPU core and a few minutes.

Claim: a small Transformer learns the classes from scratch. It is the control of
    fine-tuned numbers, and shows what labels are worth in the same number of steps.
Cost: 500 steps and the evaluations took 200 s of processor time on an AMD EPYC with bfloat16 instructions, with one
    thread.
Expected: accuracy in percent on 3 000 test images, one run with seed 0 and torch 2.14: linear 48.9 (random network
    41.0, pixels 41.1), 20-NN 46.0 (27.1, 41.4).
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact run experiments/variants/supervised_images.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_finetune import Classification, Labels
from didact_transformer import Transformer
from didact_vision import Images, Patches, RandomCrop

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
train = Images(store="cifar10-train", size=32, augmentation=RandomCrop(scale=(0.4, 1.0)))

experiment = Experiment(
    name="supervised-images",
    source=train,
    encoder=Patches(width=96, patch=4),
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
    targets=Labels(classes=CLASSES),
    objective=Classification(label_smoothing=0.1),
    training=Training(
        steps=500,
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
