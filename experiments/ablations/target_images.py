"""Ablation on CIFAR-10: which feature of the teacher's layers is predicted.

Claim: on speech the feed-forward output before its residual connection is best, and self-attention's output worst
    (data2vec §5.4). The paper's fourth feature, the feed-forward output after the residual connection and before the
    norm, is not among those that a backbone gives here; `block` is what follows that norm.
Cost: 3 variants × 3 seeds = 9 runs of 450 steps, about 0.5 hours of one core, at the rate that
    experiments/small/images.py names.
Expected: not run yet.
Command: didact run experiments/ablations/target_images.py --jobs 2
"""

from didact import experiment_in
from didact_ablate import Ablation

STEPS = 450

base = experiment_in("../small/images.py", beside=__file__)

ablation = Ablation(
    name="target-images",
    base=base.evolve(**{"training.steps": STEPS, "targets.teacher.anneal_steps": STEPS}),
    vary={"targets.feature": ("attention", "ffn", "block")},
    metric="classes/linear",
    seeds=(0, 1, 2),
)
