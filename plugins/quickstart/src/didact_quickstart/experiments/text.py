"""data2vec on an invented language, in a minute.

Command: didact run text.py, with the stores `language`, `sentences-train` and `sentences-test` that `didact quickstart`
creates.
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_distill import EMATeacher, LatentRegression, MLPHead, TopKTargets
from didact_evaluate import Probe
from didact_text import ByteBPE, Sentences, TextBlocks, TokenEmbeddings, TokenMasker
from didact_transformer import NormalInitialization, Transformer

words = ByteBPE(store="language", vocabulary_size=700)

experiment = Experiment(
    name="quickstart-text",
    source=TextBlocks(store="language", tokenizer=words, block_tokens=96, breaks="none"),
    encoder=TokenEmbeddings(width=96, max_tokens=128, dropout=0.0),
    masker=TokenMasker(),
    backbone=Transformer(
        width=96,
        depth=3,
        heads=4,
        dropout=0.0,
        attention_dropout=0.0,
        initialization=NormalInitialization(std=0.05),  # 0.02 suits base size; too small for so narrow a network
    ),
    targets=TopKTargets(k=3, normalize="layer", teacher=EMATeacher(start=0.97, end=0.97)),
    objective=LatentRegression(head=MLPHead(), beta=4.0, scale="1"),
    training=Training(
        steps=260,
        num_workers=0,  # reading takes less time than starting a worker
        batch=BatchSize.samples(32),
        optimizer=AdamW(learning_rate=1.5e-3, weight_decay=0.01),
        schedule=Cosine(warmup_steps=40),
    ),
    evaluations={
        "probe": Probe(
            train=Sentences(store="sentences-train", tokenizer=words, max_tokens=128),
            test=Sentences(store="sentences-test", tokenizer=words, max_tokens=128),
        )
    },
)
