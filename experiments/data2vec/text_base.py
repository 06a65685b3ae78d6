"""data2vec on text, base size, English Wikipedia and BookCorpus.

Claim: the algorithm of data2vec on speech and images, with BERT's tokens and masks, learns language by predicting
    latents instead of words (Baevski et al. 2022, data2vec, §4.3 and §5.3). One setting differs: the released optimizer
    decays every parameter; didact's exempts biases and norms.
Cost: 1 000 000 steps of 256 blocks of 512 tokens; released with 16 GPUs of 8 192 tokens each.
Expected: not reproduced here. The paper gives 82.7 on average over GLUE's development sets after fine-tuning, and 82.9
    with spans (RoBERTa trained the same way: 82.5).
Data: one sentence per line and a blank line between documents, as in RoBERTa's data.
Command:
    didact ingest text wikipedia/ bookcorpus/ --out stores/wikipedia-books
    didact run experiments/data2vec/text_base.py
    didact run experiments/data2vec/text_base.py:spans

`experiment` follows the paper, `spans` the released configuration; they differ in masks, learning rate and annealing.
In the released code, masked tokens are hidden from the student's input as well as the teacher's (fairseq issue #4881);
`--set targets.teacher_sees=masked` reproduces this.
"""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_distill import EMATeacher, LatentRegression, MLPHead, TopKTargets, TriStage
from didact_doctor import Doctor
from didact_evaluate import Visualizations
from didact_text import ByteBPE, TextBlocks, TokenEmbeddings, TokenMasker, TokenSpanMasker
from didact_transformer import Transformer

experiment = Experiment(
    name="data2vec-text-base",
    source=TextBlocks(
        store="wikipedia-books",
        tokenizer=ByteBPE(store="wikipedia-books", vocabulary_size=50_265),
        block_tokens=512,
        breaks="document",
    ),
    encoder=TokenEmbeddings(width=768, max_tokens=512, dropout=0.1),
    masker=TokenMasker(probability=0.15, random=0.1, keep=0.1),
    backbone=Transformer(width=768, depth=12, heads=12, norm="post", dropout=0.1, attention_dropout=0.1),
    targets=TopKTargets(
        k=10,
        feature="ffn",
        normalize="layer",
        normalize_average="none",
        teacher=EMATeacher(start=0.999, end=0.9999, anneal_steps=100_000, share="encoder"),
    ),
    objective=LatentRegression(head=MLPHead(ratio=2.0), beta=4.0, scale="1"),
    training=Training(
        steps=1_000_000,
        batch=BatchSize.tokens(16 * 8_192),
        optimizer=AdamW(learning_rate=2e-4, betas=(0.9, 0.98), epsilon=1e-6, weight_decay=0.01),
        schedule=TriStage(warmup=0.05, hold=0.8),
        max_grad_norm=5.0,
        gradient_accumulation_steps=16,
        num_workers=8,
        checkpoint_every=10_000,
        evaluate_every=50_000,
    ),
    evaluations={"pictures": Visualizations(samples=4, pool=16)},
    observers=(Doctor(),),
)

spans = experiment.evolve(
    **{
        "name": "data2vec-text-base-spans",
        "masker": TokenSpanMasker(probability=0.35, length=4),
        "targets.teacher.anneal_steps": 300_000,
        "training.schedule": Cosine(warmup_steps=10_000),
    }
)
