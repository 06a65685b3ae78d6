"""What a part changes of what it is handed is found, at any depth, and what it may change is not."""

from __future__ import annotations

import attrs
import pytest
import torch

from didact import Layout, Tokens
from didact_kit.watching import Held, recording, watching


class Part:
    def keep(self, tokens):
        return attrs.evolve(tokens, features=tokens.features + 1)

    def change(self, tokens, amount=1.0):
        tokens.features.add_(amount)
        return tokens

    def build(self):
        return [1]


class Special(Part):
    """Its methods are inherited."""


def tokens() -> Tokens:
    return Tokens(features=torch.zeros(1, 2, 3), layout=Layout((2,)))


def test_a_change_names_the_method_and_the_argument():
    changes: list[str] = []
    with watching([Special], changes):
        Special().keep(tokens())
        assert changes == []
        Special().change(tokens())
        Special().change(tokens=tokens())
    assert changes == ["in Special.change, tokens.features (1, 2, 3) was changed in place"] * 2
    Special().change(tokens())
    assert len(changes) == 2
    assert "change" not in vars(Special)


def test_writing_the_same_values_in_place_is_a_change():
    changes: list[str] = []
    with watching([Part], changes):
        Part().change(tokens(), 0.0)
    assert changes == ["in Part.change, tokens.features (1, 2, 3) was written in place, here with the values it had"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value["a"][0].mul_(2), r"x\['a'\]\[0\] \(2\) was changed in place"),
        (lambda value: value.update(b=torch.zeros(1)), r"x\['b'\] was added"),
        (lambda value: value.update(a=[torch.zeros(2)]), r"x\['a'\]\[0\] was replaced by another tensor"),
        (lambda value: value["a"][0].numpy().fill(7), "changed in place"),
    ],
)
def test_collections_are_looked_into(change, words):
    value = {"a": [torch.ones(2)]}
    held = Held(value, "x")
    change(value)
    with pytest.raises(AssertionError, match=words):
        assert not list(held.changes()), list(held.changes())


def test_a_module_is_its_weights_and_modes_without_running_statistics():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    held = Held(module, "student")
    module(torch.randn(4, 2))
    assert list(held.changes()) == []
    module.eval()
    assert "student.training was changed to False" in list(held.changes())
    module.train()
    module[0].weight.requires_grad_(False)
    assert list(held.changes()) == ["student.0.weight.requires_grad was changed to False"]


def test_what_a_class_builds_is_recorded():
    with recording(Special) as built:
        made = Special().build()
    assert built == [made]
    assert built[0] is made
