"""Ablation on CIFAR-10: where the smooth L1 loss turns from quadratic to linear.

Claim: the published setting is 2 for data2vec on images and 0, squares, for data2vec 2.0; little hangs on it.
Cost: 6 variants × 3 seeds = 18 runs of 450 steps, about 0.9 hours of one core, at the rate that
    experiments/small/images.py names.
Expected: not run yet.
Command: didact run experiments/ablations/beta_images.py --jobs 2
"""

from didact import experiment_in
from didact_ablate import Ablation

base = experiment_in("../small/images.py", beside=__file__)

ablation = Ablation(
    name="beta-images",
    base=base.evolve(**{"training.steps": 450}),
    vary={"objective.beta": (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)},
    metric="classes/linear",
    seeds=(0, 1, 2),
)
