"""Small instances of what didact-ablate registers, for the contract's rules."""

from didact import Experiment, Training, samples
from didact.testing import Example, TinyBackbone, TinyEncoder, TinyMasker, TinyObjective, TinySource, TinyTargets
from didact_ablate.ablation import Ablation

base = Experiment(
    name="walks",
    source=TinySource(),
    encoder=TinyEncoder(),
    masker=TinyMasker(),
    backbone=TinyBackbone(),
    targets=TinyTargets(),
    objective=TinyObjective(),
    training=Training(steps=2, batch=samples(2), learning_rate=1e-2),
)

EXAMPLES = {
    "ablation": [
        Example(
            spec=Ablation(
                name="rates", base=base, metric="collapse/target_std", vary={"training.learning_rate": (1e-3, 1e-2)}
            )
        )
    ]
}
