"""Ablation on spoken digits: which feature of the teacher's layers is predicted.

Claim: on speech the feed-forward output before its residual connection is the best target; the output after the
    connection or after the following norm is slightly worse; self-attention's output is worst, with a word error rate
    of 100 (data2vec §5.4).
Cost: 4 variants × 3 seeds = 12 runs of 1,000 steps, about 0.5 hours of one core, at the step time of
    experiments/small/speech.py.
Expected: digits/linear with seeds 0, 1, 2 and torch 2.14: attention 82.3 ± 2.3, ffn 88.9 ± 2.5, ffn+residual 89.5 ±
    1.1, block 89.8 ± 0.9; attention worse (p 0.038), no other difference shown. docs/explanation/ablations.md discusses
    it. Measured before samples came in today's order and before schedules reached their final value at the last step.
Command: didact run experiments/ablations/target_speech.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/speech.py", beside=__file__)

ablation = Ablation(
    name="target-speech",
    base=base.evolve(**{"training.steps": 1_000}),
    vary={"targets.feature": ("attention", "ffn", "ffn+residual", "block")},
    metric="digits/linear",
    also=("digits/knn",),
    seeds=(0, 1, 2),
)
