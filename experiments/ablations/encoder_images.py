"""Ablation on CIFAR-10: whether teacher and student share the encoder.

Claim: on images data2vec's teacher shares nothing with the student: it averages the encoder too (data2vec §4.1).
Cost: 2 variants × 3 seeds = 6 runs of 450 steps, about 0.3 hours of one core, at the step time of
    experiments/small/images.py.
Expected: not run yet.
Command: didact run experiments/ablations/encoder_images.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/images.py", beside=__file__)

ablation = Ablation(
    name="encoder-images",
    base=base.evolve(**{"training.steps": 450}),
    vary={"targets.teacher.share": ("nothing", "encoder")},
    metric="classes/linear",
    seeds=(0, 1, 2),
)
