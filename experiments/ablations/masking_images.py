"""Ablation on CIFAR-10: how much is hidden, and in how large blocks what stays visible comes.

Claim: much must be hidden, and what stays visible come in blocks (data2vec 2.0, §3.3).
Cost: 16 variants × 3 seeds = 48 runs of 450 steps, about 2.4 hours of one core, at the rate that
    experiments/small/images.py names.
Expected: not run yet.
Command: didact run experiments/ablations/masking_images.py --jobs 2
"""

from didact import experiment_in
from didact_ablate import Ablation

base = experiment_in("../small/images.py", beside=__file__)

ablation = Ablation(
    name="masking-images",
    base=base.evolve(**{"training.steps": 450}),
    grid={"masker.ratio": (0.5, 0.65, 0.75, 0.85), "masker.block": (1, 2, 3, 4)},
    metric="classes/linear",
    seeds=(0, 1, 2),
)
