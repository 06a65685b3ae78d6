"""Ablation on spoken digits: whether teacher and student share the encoder, all of it or in part.

Claim: sharing the encoder is a bit better and cheaper (data2vec §3.2); with crops as short as these, the small
    experiment found that targets collapse with a shared one.
Cost: 3 variants × 3 seeds = 9 runs of 1,000 steps, about 0.4 hours of one core, at the rate that
    experiments/small/speech.py names.
Expected: not run yet.
Command: didact run experiments/ablations/encoder_speech.py --jobs 2
"""

from didact import experiment_in
from didact_ablate import Ablation

base = experiment_in("../small/speech.py", beside=__file__)

ablation = Ablation(
    name="encoder-speech",
    base=base.evolve(**{"training.steps": 1_000}),
    vary={"targets.teacher.shares": ("nothing", "features", "encoder")},
    metric="digits/linear",
    also=("collapse/target_std",),
    seeds=(0, 1, 2),
)
