"""Ablation on spoken digits: how each averaged layer is normalised.

Claim: without normalisation a layer with large values dominates the mean, or the targets collapse (data2vec §3.3).
Cost: 4 variants × 3 seeds = 12 runs of 1,000 steps, about 0.5 hours of one core, at the step time of
    experiments/small/speech.py.
Expected: not run yet.
Command: didact run experiments/ablations/normalization_speech.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/speech.py", beside=__file__)

ablation = Ablation(
    name="normalization-speech",
    base=base.evolve(**{"training.steps": 1_000}),
    vary={"targets.normalize": ("none", "layer", "instance", "batch")},
    metric="digits/linear",
    also=("collapse/target_std",),
    seeds=(0, 1, 2),
)
