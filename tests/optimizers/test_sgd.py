"""SGD is PyTorch's."""

from __future__ import annotations

import pytest
import torch

from didact import SpecError
from didact_optimizers import SGD


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_step_is_that_of_momentum_with_coupled_decay(nesterov):
    """v ← m·v + (g + β·w); w ← w - rate·v, or with Nesterov w - rate·(g + β·w + m·v)."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    groups = [{"params": [("w", weight)], "weight_decay": 0.1}]
    optimizer = SGD(learning_rate=0.5, momentum=0.8, nesterov=nesterov).build(groups)
    expected, velocity = [1.0, -2.0], [0.0, 0.0]
    for gradient in ([0.5, 1.0], [-0.3, 0.2], [0.1, 0.1]):
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        change = [g + 0.1 * w for g, w in zip(gradient, expected, strict=True)]
        velocity = [0.8 * v + c for v, c in zip(velocity, change, strict=True)]
        moves = [c + 0.8 * v if nesterov else v for c, v in zip(change, velocity, strict=True)]
        expected = [w - 0.5 * move for w, move in zip(expected, moves, strict=True)]
        assert weight.tolist() == pytest.approx(expected, rel=1e-5)


def test_settings_that_contradict_are_refused():
    with pytest.raises(SpecError, match="nesterov needs a momentum"):
        SGD(learning_rate=0.1, momentum=0.0, nesterov=True)
    with pytest.raises(SpecError, match=r"SGD\.momentum must be"):
        SGD(learning_rate=0.1, momentum=1.0)
