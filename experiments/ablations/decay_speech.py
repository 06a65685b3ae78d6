"""Ablation on spoken digits: how fast the teacher forgets, by a schedule and by constants.

Claim: a schedule that forgets fast at first and slowly later is best (data2vec §3.2); the last variant has neither of
    the two things that keep targets from collapsing, a slow teacher and normalisation, and is to show it in
    health/target_std and collapse/target_std.
Cost: 7 variants × 3 seeds = 21 runs of 1,000 steps, about 0.9 hours of one core, at the rate that
    experiments/small/speech.py names.
Expected: run in part, seed 0 and torch 2.14: linear 90.0 (base) and 83.0 (decay 0). Of the last variant
    collapse/target_std falls from 0.59 to 0.005 within 140 steps, and the loss with it; the others stay near 1.
Command: didact run experiments/ablations/decay_speech.py --jobs 2
"""

from didact import experiment_in
from didact_ablate import Ablation

base = experiment_in("../small/speech.py", beside=__file__)

ablation = Ablation(
    name="decay-speech",
    base=base.evolve(**{"training.steps": 1_000}),
    variants={
        "decay 0": {"targets.teacher.start": 0.0, "targets.teacher.end": 0.0},
        "decay 0.9": {"targets.teacher.start": 0.9, "targets.teacher.end": 0.9},
        "decay 0.99": {"targets.teacher.start": 0.99, "targets.teacher.end": 0.99},
        "decay 0.999": {"targets.teacher.start": 0.999, "targets.teacher.end": 0.999},
        "decay 1": {"targets.teacher.start": 1.0, "targets.teacher.end": 1.0},
        "decay 0, targets as they are": {
            "targets.teacher.start": 0.0,
            "targets.teacher.end": 0.0,
            "targets.normalize": "none",
            "targets.normalize_average": "none",
        },
    },
    metric="digits/linear",
    also=(
        "collapse/target_std",
        "health/target_std",
        "health/student_rank",
    ),
    seeds=(0, 1, 2),
)
