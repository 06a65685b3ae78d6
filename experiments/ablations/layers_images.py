"""Ablation on CIFAR-10: how many of the teacher's top layers the targets average, K from 1 to the depth.

Claim: averaging several layers beats the top one (data2vec, figure 2).
Cost: 6 variants × 3 seeds = 18 runs of 450 steps, about 0.9 hours of one core, at the step time of
    experiments/small/images.py.
Expected: classes/linear with seeds 0, 1, 2 and torch 2.14: between 51.4 ± 0.7 (K 2) and 52.8 ± 1.1 (K 4), no difference
    shown. docs/explanation/ablations.md discusses it. Measured before samples came in today's order and before
    schedules reached their final value at the last step.
Command: didact run experiments/ablations/layers_images.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/images.py", beside=__file__)

ablation = Ablation(
    name="layers-images",
    base=base.evolve(**{"training.steps": 450}),
    vary={"targets.k": (1, 2, 3, 4, 5, 6)},
    metric="classes/linear",
    also=("classes/knn",),
    seeds=(0, 1, 2),
)
