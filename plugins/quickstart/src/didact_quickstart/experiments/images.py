"""data2vec 2.0 on handwritten digits, in a minute.

Command: didact run images.py, with the stores `digits-train` and `digits-test` that `didact quickstart` creates.
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_distill import ConvDecoder, EMATeacher, LatentRegression, TopKTargets
from didact_evaluate import Probe
from didact_transformer import Transformer
from didact_vision import Images, InverseBlockMasker, Patches, RandomCrop

train = Images(store="digits-train", size=16, augmentation=RandomCrop(scale=(0.6, 1.0), flip=0.0))

experiment = Experiment(
    name="quickstart-images",
    source=train,
    encoder=Patches(width=96, patch=2),
    masker=InverseBlockMasker(ratio=0.75, masks=2, block=3, adjust=0.1),
    backbone=Transformer(width=96, depth=4, heads=4, input_norm=True, dropout=0.0, attention_dropout=0.0),
    targets=TopKTargets(
        k=3,
        normalize="instance",
        normalize_average="layer",
        teacher=EMATeacher(start=0.98, end=0.995, anneal_steps=None, share="nothing"),
    ),
    objective=LatentRegression(head=ConvDecoder(width=96, layers=3)),
    training=Training(
        steps=250,
        num_workers=0,  # reading takes less time than starting a worker
        batch=BatchSize.samples(48),
        optimizer=AdamW(learning_rate=2e-3, betas=(0.9, 0.95), weight_decay=0.05),
        schedule=Cosine(warmup_steps=40),
        max_grad_norm=4.0,
    ),
    evaluations={"probe": Probe(train=train, test=Images(store="digits-test", size=16))},
)
