"""Ablation on spoken digits: where the smooth L1 loss turns from quadratic to linear.

Claim: the published setting on speech is 0, the squared error; the accuracy hardly depends on it.
Cost: 5 variants × 3 seeds = 15 runs of 1,000 steps, about 0.7 hours of one core, at the step time of
    experiments/small/speech.py.
Expected: not run yet.
Command: didact run experiments/ablations/beta_speech.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/speech.py", beside=__file__)

ablation = Ablation(
    name="beta-speech",
    base=base.evolve(**{"training.steps": 1_000}),
    vary={"objective.beta": (0.0, 0.25, 0.5, 1.0, 2.0)},
    metric="digits/linear",
    seeds=(0, 1, 2),
)
