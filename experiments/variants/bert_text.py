"""BERT's masked language model on WikiText-2, sized for two CPU cores.

Claim: the control of experiments/small/text.py. The same tokens, masks and Transformer predict the masked words
    themselves (Devlin et al. 2019, in RoBERTa's form) instead of a teacher's layers.
Cost: 11 minutes on one core of an AMD EPYC with bfloat16 instructions, evaluations included, 0.57 s per step; the other
    core was busy.
Expected: accuracy in percent on SST-2, torch 2.14, seed 0: linear 62.3 (random network 61.9, bag of tokens 77.5), 20-NN
    57.6 (58.5, 68.8). Cross-entropy falls to 5.8 nats. So few steps teach nothing about sentiment here either, so the
    targets of experiments/small/text.py are not the reason for its lack of gain. Measured before samples came in
    today's order, before schedules reached their final value at the last step and before position tables were exempt
    from weight decay.
Data: the validation and test files of WikiText-2; SST-2 as `sentence<TAB>label`, without a header.
Command:
    didact ingest text wikitext2_a.txt wikitext2_b.txt --out stores/wikitext
    didact ingest text sst2_train.tsv --option label=2 --out stores/sst2-train
    didact ingest text sst2_dev.tsv --option label=2 --out stores/sst2-dev
    didact run experiments/variants/bert_text.py
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_aim import Aim
from didact_doctor import Doctor
from didact_evaluate import Probe, RepresentationMetrics
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
        batch=BatchSize.samples(32),
        optimizer=AdamW(learning_rate=1e-3, betas=(0.9, 0.98), epsilon=1e-6, weight_decay=0.01),
        schedule=Cosine(warmup_steps=100),
        max_grad_norm=5.0,
    ),
    evaluations={
        "health": RepresentationMetrics(),
        "sentiment": Probe(
            train=Sentences(store="sst2-train", tokenizer=tokenizer, max_tokens=128),
            test=Sentences(store="sst2-dev", tokenizer=tokenizer, max_tokens=128),
        ),
    },
    observers=(Doctor(), Aim()),
)
