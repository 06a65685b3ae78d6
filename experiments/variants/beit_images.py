"""BEiT on CIFAR-10, sized for two CPU cores: which visual word was masked?

Claim: a small Transformer learns by predicting the visual words of masked patches (Bao et al. 2022). The vocabulary
    consists of 512 clusters of patches instead of BEiT's discrete VAE. It differs from
    experiments/variants/mae_images.py in two ways: patches are hidden in blocks, and words are predicted, not pixels.
Cost: 22 minutes on one core of an AMD EPYC with bfloat16 instructions, evaluations included, 0.70 s per step; the other
    core was busy. Clustering takes a minute; the clusters explain 91 % of the variance of pixels.
Expected: accuracy in percent on 3 000 test images, torch 2.14, seed 0: linear 52.7 (random network 45.9, pixels 41.1),
    20-NN 37.4 (27.7, 41.4). Measured before samples came in today's order, before schedules reached their final value
    at the last step and before position tables were exempt from weight decay.
Command:
    didact ingest images cifar10_train.tar --label-from folder --out stores/cifar10-train
    didact ingest images cifar10_test.tar --label-from folder --out stores/cifar10-test
    didact cluster experiments/variants/beit_images.py
    didact run experiments/variants/beit_images.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_distill import LinearHead
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
from didact_masked import ClusterTargets, MaskedCrossEntropy, PatchPixels
from didact_transformer import Transformer
from didact_vision import BlockMasker, Images, Patches, RandomCrop

train = Images(store="cifar10-train", size=32, augmentation=RandomCrop(scale=(0.4, 1.0)))

experiment = Experiment(
    name="beit-images",
    source=train,
    encoder=Patches(width=160, patch=4, mask_token=True),
    masker=BlockMasker(ratio=0.5),
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
    targets=ClusterTargets(
        codebook="codebooks/cifar10-patches.npz", feature=PatchPixels(normalize=False), clusters=512
    ),
    objective=MaskedCrossEntropy(head=LinearHead(initialization="truncated")),
    training=Training(
        steps=1_500,
        batch=BatchSize.samples(96),
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
