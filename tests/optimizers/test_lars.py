"""LARS against the published formula and step by step against arithmetic on plain numbers."""

from __future__ import annotations

import math

import pytest
import torch

from didact import SpecError
from didact_optimizers import LARS


def group(*parameters: torch.nn.Parameter, exempt: bool = False, decay: float = 0.0, rate: float = 1.0) -> dict:
    return {
        "params": [(str(i), p) for i, p in enumerate(parameters)],
        "exempt": exempt,
        "weight_decay": decay,
        "lr": rate,
    }


def run(values: list[float], gradients: list[list[float]], rates: list[float], **settings: object) -> list[list[float]]:
    """The values of one weight after each step."""
    own = {key: settings.pop(key) for key in ("exempt", "decay") if key in settings}
    weight = torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))
    optimizer = LARS(learning_rate=1.0, **settings).build([group(weight, **own)])
    found = []
    for gradient, rate in zip(gradients, rates, strict=True):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        found.append(weight.tolist())
    return found


GRADIENTS = [[0.5, -1.0, 0.25], [0.1, 0.2, -0.7], [-0.3, 0.4, 0.9]]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_step_is_that_of_byols_code_on_plain_numbers(decay):
    """Weights, decay, trust ratio, momentum, learning rate, in this order; the rate changes between the steps."""
    weight, velocity, expected, rates = [1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [], [0.3, 0.2, 0.05]
    for gradient, rate in zip(GRADIENTS, rates, strict=True):
        change = [g + decay * w for g, w in zip(gradient, weight, strict=True)]
        ratio = 0.02 * math.hypot(*weight) / math.hypot(*change)
        velocity = [0.8 * v + ratio * c for v, c in zip(velocity, change, strict=True)]
        weight = [w - rate * v for w, v in zip(weight, velocity, strict=True)]
        expected.append(weight)
    found = run([1.0, -2.0, 0.5], GRADIENTS, rates, decay=decay, momentum=0.8, trust_coefficient=0.02)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-12)


def test_at_a_constant_rate_without_decay_it_is_you_et_al_2017():
    """Algorithm 1: v ← m·v + γ·λ·(∇L + β·w) with λ = η·‖w‖ / (‖∇L‖ + β·‖w‖); w ← w - v. β is 0 here."""
    weight, velocity, m, eta, gamma = torch.tensor([3.0, 4.0, 0.0]).double(), torch.zeros(3).double(), 0.9, 0.001, 2.0
    for gradient, mine in zip(GRADIENTS, run([3.0, 4.0, 0.0], GRADIENTS, [gamma] * 3), strict=True):
        gradient = torch.tensor(gradient, dtype=torch.float64)
        local = eta * weight.norm() / gradient.norm()
        velocity = m * velocity + gamma * local * gradient
        weight = weight - velocity
        assert mine == pytest.approx(weight.tolist(), rel=1e-12)


def test_a_first_step_has_the_length_of_the_trust_coefficient_whatever_the_gradients_scale():
    for scale in (1e-6, 1.0, 1e6):
        ((x, y),) = run([3.0, 4.0], [[scale, 0.0]], [1.0])
        assert (3.0 - x, 4.0 - y) == pytest.approx((0.005, 0.0))


def test_exempt_parameters_follow_plain_momentum():
    mine = run([3.0, 4.0, 0.0], GRADIENTS, [0.1] * 3, exempt=True)
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0, 0.0]).double())
    theirs = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    for gradient, found in zip(GRADIENTS, mine, strict=True):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        theirs.step()
        assert found == pytest.approx(weight.tolist(), rel=1e-12)


def test_a_weight_or_a_gradient_of_zeros_has_a_ratio_of_one():
    assert run([0.0, 0.0], [[1.0, 2.0]], [0.5]) == [[-0.5, -1.0]]
    assert run([1.0, 2.0], [[0.0, 0.0]], [0.5]) == [[1.0, 2.0]]


@pytest.mark.parametrize("field", ["momentum", "trust_coefficient", "weight_decay", "learning_rate"])
def test_settings_out_of_range_are_refused(field):
    with pytest.raises(SpecError, match=f"LARS.{field} must be"):
        LARS(**{"learning_rate": 1.0, field: -1.0})
