"""Ablation on CIFAR-10: the teacher's decay, scheduled and constant.

Claim: a decay that rises during training is best (data2vec §3.2). The last variant lacks both safeguards against
    collapse, a slow teacher and normalised targets; health/target_std and collapse/target_std must show its collapse.
Cost: 7 variants × 3 seeds = 21 runs of 450 steps, about 1.1 hours of one core, at the step time of
    experiments/small/images.py.
Expected: not run yet.
Command: didact run experiments/ablations/decay_images.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

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
        "decay 0, targets not normalised": {
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
