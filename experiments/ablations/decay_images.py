"""Ablation on CIFAR-10: how fast the teacher forgets, by a schedule and by constants.

Claim: a schedule that forgets fast at first and slowly later is best (data2vec §3.2); the last variant has neither of
    the two things that keep targets from collapsing, a slow teacher and normalisation, and is to show it in
    health/target_std and collapse/target_std.
Cost: 7 variants × 3 seeds = 21 runs of 450 steps, about 1.1 hours of one core, at the rate that
    experiments/small/images.py names.
Expected: not run yet.
Command: didact run experiments/ablations/decay_images.py --jobs 2
"""

from didact import experiment_in
from didact_ablate import Ablation

base = experiment_in("../small/images.py", beside=__file__)

ablation = Ablation(
    name="decay-images",
    base=base.evolve(**{"training.steps": 450}),
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
    metric="classes/linear",
    also=(
        "collapse/target_std",
        "health/target_std",
        "health/student_rank",
    ),
    seeds=(0, 1, 2),
)
