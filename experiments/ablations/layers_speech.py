"""Ablation on spoken digits: how many of the teacher's top layers the targets average, K from 1 to the depth.

Claim: averaging several layers beats the top one (data2vec, figure 2).
Cost: 6 variants × 3 seeds = 18 runs of 1,000 steps, about 0.8 hours of one core, at the step time of
    experiments/small/speech.py.
Expected: digits/linear with seeds 0, 1, 2 and torch 2.14: between 89.8 ± 0.9 (K 4) and 90.7 ± 1.7 (K 2), no difference
    shown; docs/explanation/ablations.md discusses it. Measured before samples came in today's order and before
    schedules reached their final value at the last step.
Command: didact run experiments/ablations/layers_speech.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/speech.py", beside=__file__)

ablation = Ablation(
    name="layers-speech",
    base=base.evolve(**{"training.steps": 1_000}),
    vary={"targets.k": (1, 2, 3, 4, 5, 6)},
    metric="digits/linear",
    also=("digits/knn",),
    seeds=(0, 1, 2),
)
