"""data2vec on images, base size, ImageNet-1k.

Claim: the algorithm of data2vec on speech and text, with BEiT's encoder and masks, learns images (Baevski et al. 2022,
    data2vec, §4.1 and §5.1; settings of the released code, which produced the paper's numbers).
Cost: 800 epochs of 1 281 167 images, 500 000 steps of 2 048; released with 16 GPUs of 128 images each.
Expected: not reproduced here. The paper gives about 84 % top-1 after fine-tuning.
Command:
    didact ingest images imagenet/train --label-from folder --out stores/imagenet-train
    didact run experiments/data2vec/vision_base.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_distill import EMATeacher, LatentRegression, LinearHead, TopKTargets
from didact_doctor import Doctor
from didact_evaluate import Visualizations
from didact_transformer import BEiTBias, DepthScaledInitialization, Transformer
from didact_vision import BEiTAugmentation, BlockMasker, Images, Patches

IMAGES, BATCH, EPOCHS, WARMUP_EPOCHS = 1_281_167, 2_048, 800, 10
STEPS_PER_EPOCH = IMAGES // BATCH  # 625; BEiT drops the last, smaller batch of an epoch

experiment = Experiment(
    name="data2vec-vision-base",
    source=Images(store="imagenet-train", size=224, augmentation=BEiTAugmentation()),
    encoder=Patches(width=768, patch=16, positions="none", mask_token=True, initialization="beit"),
    masker=BlockMasker(ratio=120 / 196),
    backbone=Transformer(
        width=768,
        depth=12,
        heads=12,
        norm="pre",
        norm_epsilon=1e-6,
        dropout=0.0,
        attention_dropout=0.05,
        drop_path=0.25,
        layer_scale=1e-4,
        key_bias=False,
        positions=BEiTBias(),
        initialization=DepthScaledInitialization(),
    ),
    targets=TopKTargets(
        k=6,
        feature="block",
        normalize="layer",
        normalize_average="layer",
        # the released command does not set the annealing options, so τ is constant
        teacher=EMATeacher(start=0.9998, end=0.9998, anneal_steps=0, share="nothing"),
    ),
    objective=LatentRegression(head=LinearHead(initialization="truncated"), beta=2.0, scale="1/width"),
    training=Training(
        steps=EPOCHS * STEPS_PER_EPOCH,
        batch=BatchSize.samples(BATCH),
        optimizer=AdamW(learning_rate=2e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.05),
        schedule=Cosine(warmup_steps=WARMUP_EPOCHS * STEPS_PER_EPOCH, final=1e-5 / 2e-3),
        max_grad_norm=3.0,
        gradient_accumulation_steps=16,
        num_workers=16,
        checkpoint_every=10 * STEPS_PER_EPOCH,
        evaluate_every=40 * STEPS_PER_EPOCH,
    ),
    evaluations={"pictures": Visualizations(samples=4, pool=16)},
    observers=(Doctor(),),
)
