"""Ablation on CIFAR-10: which feature of the teacher's layers is predicted.

Claim: on speech the feed-forward output before its residual connection is the best target; the output after the
    connection or after the following norm is slightly worse; self-attention's output is worst, with a word error rate
    of 100 (data2vec §5.4).
Cost: 4 variants × 3 seeds = 12 runs of 450 steps, about 0.6 hours of one core, at the step time of
    experiments/small/images.py.
Expected: classes/linear with seeds 0, 1, 2 and torch 2.14: attention 47.8 ± 0.5, ffn 52.8 ± 1.1, ffn+residual 53.8 ±
    0.6, block 53.3 ± 0.8; attention worse (p 0.018), no other difference shown. docs/explanation/ablations.md discusses
    it. Measured before samples came in today's order and before schedules reached their final value at the last step.
Command: didact run experiments/ablations/target_images.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/images.py", beside=__file__)

ablation = Ablation(
    name="target-images",
    base=base.evolve(**{"training.steps": 450}),
    vary={"targets.feature": ("attention", "ffn", "ffn+residual", "block")},
    metric="classes/linear",
    also=("classes/knn",),
    seeds=(0, 1, 2),
)
