"""Methods on CIFAR-10: the same small Transformer trained by each for the same time.

Claim: none. The study asks which method, at this size and in ten minutes, gives the best features for a linear probe
    and nearest neighbours, and whether each beats its own random initialisation.
Cost: 6 methods × 3 seeds = 18 runs of ten minutes on two cores each; docs/how-to/compare-methods.md explains how their
    times were made equal.
Expected: torch 2.14, mean over seeds 0, 1 and 2: linear 54.6 (VICReg), 54.5 (data2vec), 51.1 (SimSiam), 51.0 (BYOL),
    50.0 (DINO), random network 47.0; data2vec on Perceiver, seed 0 only, 45.6, random network 41.4.
    docs/how-to/compare-methods.md has the table and lists what has changed since. Measured before samples came in
    today's order and before schedules reached their final value at the last step.
Command: didact run experiments/ablations/methods_images.py --jobs 2
"""

from didact_ablate import Ablation, experiment_in

# the number of steps that take ten minutes, as in the files of the other methods
base = experiment_in("../small/images.py", beside=__file__).evolve(**{"training.steps": 2_700})
others = ("byol", "simsiam", "vicreg", "dino")

ablation = Ablation(
    name="methods-images",
    base=base,
    methods={
        "data2vec": base,
        **{name: experiment_in(f"../variants/{name}_images.py", beside=__file__) for name in others},
        "data2vec-perceiver": experiment_in("../variants/perceiver.py", beside=__file__),
    },
    metric="classes/linear",
    control="classes/linear_random",
    also=("classes/knn", "classes/knn_random"),
    seeds=(0, 1, 2),
)
