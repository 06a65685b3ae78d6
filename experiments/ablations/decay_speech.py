"""Ablation on spoken digits: the teacher's decay, scheduled and constant.

Claim: a decay that rises during training is best (data2vec §3.2). The last variant lacks both safeguards against
    collapse, a slow teacher and normalised targets; health/target_std and collapse/target_std must show its collapse.
Cost: 7 variants × 3 seeds = 21 runs of 1,000 steps, about 0.9 hours of one core, at the step time of
    experiments/small/speech.py.
Expected: run in part, seed 0 and torch 2.14: linear 90.0 (base) and 83.0 (decay 0). In the last variant
    collapse/target_std falls from 0.59 to 0.005 within 140 steps, and so does the loss; the others stay near 1.
    Measured before samples came in today's order and before schedules reached their final value at the last step.
Command: didact run experiments/ablations/decay_speech.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

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
        "decay 0, targets not normalised": {
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
