"""Ablation on spoken digits: how each of the averaged layers is normalised.

Claim: without normalisation a layer of large values dominates the mean, or all collapses (data2vec §3.3).
Cost: 4 variants × 3 seeds = 12 runs of 1,000 steps, about 0.5 hours of one core, at the rate that
    experiments/small/speech.py names.
Expected: not run yet.
Command: didact run experiments/ablations/normalization_speech.py --jobs 2
"""

from didact import experiment_in
from didact_ablate import Ablation

base = experiment_in("../small/speech.py", beside=__file__)

ablation = Ablation(
    name="normalization-speech",
    base=base.evolve(**{"training.steps": 1_000}),
    vary={"targets.normalize": ("none", "layer", "instance", "batch")},
    metric="digits/linear",
    also=("collapse/target_std",),
    seeds=(0, 1, 2),
)
