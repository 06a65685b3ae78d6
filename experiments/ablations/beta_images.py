"""Ablation on CIFAR-10: where the smooth L1 loss turns from quadratic to linear.

Claim: the published setting is 2 for data2vec on images and 0, the squared error, for data2vec 2.0; the accuracy hardly
    depends on it.
Cost: 6 variants × 3 seeds = 18 runs of 450 steps, about 0.9 hours of one core, at the step time of
    experiments/small/images.py.
Expected: not run yet.
Command: didact run experiments/ablations/beta_images.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/images.py", beside=__file__)

ablation = Ablation(
    name="beta-images",
    base=base.evolve(**{"training.steps": 450}),
    vary={"objective.beta": (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)},
    metric="classes/linear",
    seeds=(0, 1, 2),
)
