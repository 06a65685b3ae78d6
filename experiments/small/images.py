"""data2vec 2.0 on CIFAR-10, sized for two CPU cores and ten minutes.

Claim: the method of experiments/data2vec/vision2_base.py, at a hundredth of its size, learns features from 20 000 small
    images that beat raw pixels and the same network at random initialisation.
Cost: ten minutes on one core of an AMD EPYC with bfloat16 instructions, evaluations included; less on two.
Expected: accuracy in percent on 3 000 test images, torch 2.14, seeds 0 and 1: linear 55.5 and 55.0 (random network 46.7
    and 47.4, pixels 41.1), 20-NN 48.1 and 46.5 (random network 28.3 and 27.6, pixels 41.4). On 7 000 other test images,
    in float32, seed 0: linear 54.9 (46.0, 39.8), 20-NN 47.8 (28.0, 42.0). Measured before samples came in today's
    order, before schedules reached their final value at the last step and before position tables were exempt from
    weight decay.
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact run experiments/small/images.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_distill import ConvDecoder, EMATeacher, LatentRegression, TopKTargets
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics, Visualizations
from didact_transformer import Transformer
from didact_vision import Images, InverseBlockMasker, Patches, RandomCrop

train = Images(store="cifar10-train", size=32, augmentation=RandomCrop(scale=(0.4, 1.0)))

experiment = Experiment(
    name="small-images",
    source=train,
    encoder=Patches(width=160, patch=4),
    masker=InverseBlockMasker(ratio=0.75, masks=4, block=3, adjust=0.1),
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
    targets=TopKTargets(
        k=4,
        feature="ffn",
        normalize="instance",
        normalize_average="layer",
        teacher=EMATeacher(start=0.99, end=0.999, anneal_steps=None, share="nothing"),
    ),
    objective=LatentRegression(head=ConvDecoder(width=160, layers=4, kernel=3, groups=16)),
    training=Training(
        steps=1_500,
        batch=BatchSize.samples(48),
        optimizer=AdamW(learning_rate=3e-3, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.05),
        schedule=Cosine(warmup_steps=100),
        max_grad_norm=4.0,
    ),
    evaluations={
        "classes": Probe(train=train, test=Images(store="cifar10-test", size=32)),
        "health": RepresentationMetrics(),
        "pictures": Visualizations(query="middle"),  # no loss is computed from the class token
    },
    observers=(Doctor(), Aim()),
)
