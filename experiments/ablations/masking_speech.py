"""Ablation on spoken digits: the share of hidden frames, and the length of spans.

Claim: the published setting hides half of the frames in spans of 200 ms. These crops last 0.6 s; spans of 50 ms were
    chosen by trial.
Cost: 12 variants × 3 seeds = 36 runs of 1,000 steps, about 1.6 hours of one core, at the step time of
    experiments/small/speech.py.
Expected: not run yet.
Command: didact run experiments/ablations/masking_speech.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/speech.py", beside=__file__)

ablation = Ablation(
    name="masking-speech",
    base=base.evolve(**{"training.steps": 1_000}),
    grid={"masker.probability": (0.3, 0.5, 0.8, 1.0), "masker.length": (2, 5, 10)},
    metric="digits/linear",
    seeds=(0, 1, 2),
)
