"""BERT's masked language model on WikiText, for two cores and minutes.

Claim: the control of experiments/small/text.py: the same tokens, masks and Transformer predict the masked words
    themselves (Devlin et al. 2019, in RoBERTa's form) and not a teacher's layers.
Cost: 11 minutes on one core of an AMD EPYC with bfloat16 instructions, evaluations included, 0.57 s per step, while the
    machine was busy with more.
Expected: accuracy in percent on SST-2, as run there with torch 2.14 and seed 0: linear 62.3, 20-NN 57.6; the same
    network at random initialisation 61.9 and 58.5; the bag of tokens 77.5 and 68.8. Cross-entropy falls to 5.8 nats.
    So few steps teach it nothing about sentiment either: what experiments/small/text.py lacks is not its targets.
Data: as experiments/small/text.py.
Command:
    didact ingest text wikitext2_a.txt wikitext2_b.txt --out stores/wikitext
    didact ingest text sst2_train.tsv --option label=2 --out stores/sst2-train
    didact ingest text sst2_dev.tsv --option label=2 --out stores/sst2-dev
    didact run experiments/variants/bert_text.py
"""

from didact import Cosine, Experiment, Training, samples
from didact_aim import Aim
from didact_evaluate import Health, Probe
from didact_masked import InputIds, MaskedCrossEntropy, TiedHead
from didact_text import ByteBPE, Sentences, TextBlocks, TokenEmbeddings, TokenMasker
from didact_transformer import Transformer

tokenizer = ByteBPE(store="wikitext", vocabulary_size=8_000)

experiment = Experiment(
    name="bert-text",
    source=TextBlocks(store="wikitext", tokenizer=tokenizer, block_tokens=128, breaks="none"),
    encoder=TokenEmbeddings(width=192, max_tokens=128, dropout=0.1),
    masker=TokenMasker(probability=0.15, random=0.1, keep=0.1),
    backbone=Transformer(width=192, depth=4, heads=6, norm="post", dropout=0.1, attention_dropout=0.1),
    targets=InputIds(),
    objective=MaskedCrossEntropy(head=TiedHead()),
    training=Training(
        steps=1_000,
        batch=samples(32),
        learning_rate=1e-3,
        schedule=Cosine(warmup_steps=100),
        betas=(0.9, 0.98),
        epsilon=1e-6,
        weight_decay=0.01,
        clip_norm=5.0,
    ),
    evaluations={
        "health": Health(),
        "sentiment": Probe(
            train=Sentences(store="sst2-train", tokenizer=tokenizer, max_tokens=128),
            test=Sentences(store="sst2-dev", tokenizer=tokenizer, max_tokens=128),
        ),
    },
    observers=(Aim(),),
)
