"""Ablation on CIFAR-10: how each averaged layer is normalised.

Claim: without normalisation a layer with large values dominates the mean, or the targets collapse (data2vec §3.3).
Cost: 4 variants × 3 seeds = 12 runs of 450 steps, about 0.6 hours of one core, at the step time of
    experiments/small/images.py.
Expected: not run yet.
Command: didact run experiments/ablations/normalization_images.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/images.py", beside=__file__)

ablation = Ablation(
    name="normalization-images",
    base=base.evolve(**{"training.steps": 450}),
    vary={"targets.normalize": ("none", "layer", "instance", "batch")},
    metric="classes/linear",
    also=("collapse/target_std",),
    seeds=(0, 1, 2),
)
