"""Ablation on CIFAR-10: whether teacher and student share the encoder.

Claim: on images the teacher averages all of the student (data2vec §4.1).
Cost: 2 variants × 3 seeds = 6 runs of 450 steps, about 0.3 hours of one core, at the rate that
    experiments/small/images.py names.
Expected: not run yet.
Command: didact run experiments/ablations/encoder_images.py --jobs 2
"""

from didact import experiment_in
from didact_ablate import Ablation

base = experiment_in("../small/images.py", beside=__file__)

ablation = Ablation(
    name="encoder-images",
    base=base.evolve(**{"training.steps": 450}),
    vary={"targets.teacher.shares": ("nothing", "encoder")},
    metric="classes/linear",
    seeds=(0, 1, 2),
)
