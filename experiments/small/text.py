"""data2vec on WikiText-2, sized for two CPU cores and five minutes.

Claim: the method of experiments/data2vec/text_base.py, at a hundredth of its size, trains on half a million words. No
    gain on the sentiment of film reviews is claimed: the probe shows none.
Cost: five minutes on one core of an AMD EPYC with bfloat16 instructions.
Expected: accuracy in percent on SST-2, torch 2.14, seeds 0, 1, 2: linear 63.2, 61.6, 62.3 (random network 61.9, 63.5,
    64.5, bag of tokens 77.5), 20-NN 56.9, 53.0, 51.6 (random network 58.5, 57.7, 60.3, bag of tokens 68.8). Sentiment
    depends on single words, and so few steps teach the network nothing about it. Measured before samples came in
    today's order, before schedules reached their final value at the last step and before position tables were exempt
    from weight decay.
Data: the validation and test files of WikiText-2; SST-2 as `sentence<TAB>label`, without a header.
Command:
    didact ingest text wikitext2_a.txt wikitext2_b.txt --out stores/wikitext
    didact ingest text sst2_train.tsv --option label=2 --out stores/sst2-train
    didact ingest text sst2_dev.tsv --option label=2 --out stores/sst2-dev
    didact run experiments/small/text.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_distill import EMATeacher, LatentRegression, MLPHead, TopKTargets
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics, Visualizations
from didact_text import ByteBPE, Sentences, TextBlocks, TokenEmbeddings, TokenMasker
from didact_transformer import Transformer

tokenizer = ByteBPE(store="wikitext", vocabulary_size=8_000)

experiment = Experiment(
    name="small-text",
    source=TextBlocks(store="wikitext", tokenizer=tokenizer, block_tokens=128, breaks="none"),
    encoder=TokenEmbeddings(width=192, max_tokens=128, dropout=0.1),
    masker=TokenMasker(probability=0.15, random=0.1, keep=0.1),
    backbone=Transformer(width=192, depth=4, heads=6, norm="post", dropout=0.1, attention_dropout=0.1),
    targets=TopKTargets(
        k=3,
        feature="ffn",
        normalize="layer",
        normalize_average="none",
        teacher=EMATeacher(start=0.99, end=0.999, anneal_steps=None, share="encoder"),
    ),
    objective=LatentRegression(head=MLPHead(ratio=2.0), beta=4.0, scale="1"),
    training=Training(
        steps=1_000,
        batch=BatchSize.samples(32),
        optimizer=AdamW(learning_rate=1e-3, betas=(0.9, 0.98), epsilon=1e-6, weight_decay=0.01),
        schedule=Cosine(warmup_steps=100),
        max_grad_norm=5.0,
    ),
    evaluations={
        "health": RepresentationMetrics(),
        "pictures": Visualizations(),
        "sentiment": Probe(
            train=Sentences(store="sst2-train", tokenizer=tokenizer, max_tokens=128),
            test=Sentences(store="sst2-dev", tokenizer=tokenizer, max_tokens=128),
        ),
    },
    observers=(Doctor(), Aim()),
)
