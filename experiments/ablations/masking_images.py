"""Ablation on CIFAR-10: the share of hidden patches, and the size of visible blocks.

Claim: most patches must be hidden, and the visible ones must form blocks (data2vec 2.0, §3.3).
Cost: 16 variants × 3 seeds = 48 runs of 450 steps, about 2.4 hours of one core, at the step time of
    experiments/small/images.py.
Expected: not run yet.
Command: didact run experiments/ablations/masking_images.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/images.py", beside=__file__)

ablation = Ablation(
    name="masking-images",
    base=base.evolve(**{"training.steps": 450}),
    grid={"masker.ratio": (0.5, 0.65, 0.75, 0.85), "masker.block": (1, 2, 3, 4)},
    metric="classes/linear",
    seeds=(0, 1, 2),
)
