"""Ablation on spoken digits: whether teacher and student share the encoder, in whole or in part.

Claim: sharing the encoder is slightly better and cheaper (data2vec §3.2), but in the small experiment, whose crops are
    short, targets collapsed with a shared encoder.
Cost: 3 variants × 3 seeds = 9 runs of 1,000 steps, about 0.4 hours of one core, at the step time of
    experiments/small/speech.py.
Expected: not run yet.
Command: didact run experiments/ablations/encoder_speech.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

base = experiment_in("../small/speech.py", beside=__file__)

ablation = Ablation(
    name="encoder-speech",
    base=base.evolve(**{"training.steps": 1_000}),
    vary={"targets.teacher.share": ("nothing", "features", "encoder")},
    metric="digits/linear",
    also=("collapse/target_std",),
    seeds=(0, 1, 2),
)
