"""Methods on CIFAR-10: what the same small Transformer learns from each in the same time.

Claim: none is made; the question is which method, at this size and in ten minutes, gives the features that a linear
    probe and nearest neighbours can use best, and whether each beats its own random initialisation.
Cost: 6 methods × 3 seeds = 18 runs; how long each takes is what docs/how-to/compare-methods.md sets equal.
Expected: torch 2.14, mean over seeds 0, 1 and 2: linear 54.6 (VICReg), 54.5 (data2vec), 51.1 (SimSiam), 51.0 (BYOL),
    50.0 (DINO), against 47.0 of the network at random initialisation; data2vec on Perceiver, seed 0 alone, 45.6 against
    41.4. docs/how-to/compare-methods.md has the table, and says what has changed since.
Command: didact run experiments/ablations/methods_images.py --jobs 2
"""

from didact import experiment_in
from didact_ablate import Ablation

# as many steps as take ten minutes, as the others' files have
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
