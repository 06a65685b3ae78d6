"""data2vec on Python's own documentation, in a minute.

Command: didact run text.py, where `python-docs`, `docstrings-train` and `docstrings-test` are stores; `didact
quickstart` makes them.
"""

from didact import Cosine, Experiment, Training, samples
from didact_distill import EMATeacher, LatentRegression, MLPHead, TopKTargets
from didact_evaluate import Probe
from didact_text import ByteBPE, Sentences, TextBlocks, TokenEmbeddings, TokenMasker
from didact_transformer import Transformer

STEPS = 300

words = ByteBPE(store="python-docs", vocabulary_size=4_000)

experiment = Experiment(
    name="quickstart-text",
    source=TextBlocks(store="python-docs", tokenizer=words, block_tokens=96, breaks="none"),
    encoder=TokenEmbeddings(width=128, max_tokens=128, dropout=0.0),
    masker=TokenMasker(),
    backbone=Transformer(width=128, depth=4, heads=4, dropout=0.0, attention_dropout=0.0),
    targets=TopKTargets(k=3, normalize="layer", teacher=EMATeacher(start=0.99, end=0.999, anneal_steps=STEPS)),
    objective=LatentRegression(head=MLPHead(), beta=4.0, scale="1"),
    training=Training(
        steps=STEPS,
        workers=0,  # reading costs less than starting a process that reads
        batch=samples(32),
        learning_rate=1e-3,
        schedule=Cosine(warmup_steps=40),
        weight_decay=0.01,
    ),
    evaluations={
        "probe": Probe(
            train=Sentences(store="docstrings-train", tokenizer=words, max_tokens=128),
            test=Sentences(store="docstrings-test", tokenizer=words, max_tokens=128),
        )
    },
)
