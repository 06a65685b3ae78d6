"""Ablation on spoken digits: how much is hidden, and in how long spans.

Claim: the published setting hides half of the positions in spans of 200 ms; these crops last 0.6 s, for which spans of
    50 ms were found by trying.
Cost: 12 variants × 3 seeds = 36 runs of 1,000 steps, about 1.6 hours of one core, at the rate that
    experiments/small/speech.py names.
Expected: not run yet.
Command: didact run experiments/ablations/masking_speech.py --jobs 2
"""

from didact import experiment_in
from didact_ablate import Ablation

base = experiment_in("../small/speech.py", beside=__file__)

ablation = Ablation(
    name="masking-speech",
    base=base.evolve(**{"training.steps": 1_000}),
    grid={"masker.probability": (0.3, 0.5, 0.8, 1.0), "masker.length": (2, 5, 10)},
    metric="digits/linear",
    seeds=(0, 1, 2),
)
