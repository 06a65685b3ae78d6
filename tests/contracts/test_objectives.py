"""`Objective`."""

from didact.testing import TinyEncoder, TinyMasker, check_objective, tiny_network

TARGETS = {"distill/latent-regression": {"spec": "distill/top-k", "k": 2}}


def test_every_objective_keeps_the_contract(objective, make):
    drops = type(getattr(objective.spec, "head", None)).__name__ == "ConvDecoder"
    check_objective(
        objective.spec,
        make(TARGETS[objective.name]),
        tiny_network(TinyEncoder(class_token=True)),
        TinyMasker(masks=2, corruption="drop" if drops else "hide"),
    )
