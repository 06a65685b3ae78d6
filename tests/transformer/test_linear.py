from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from didact_transformer import linear as module
from didact_transformer.linear import Linear, linear


@pytest.mark.parametrize("shape", [(3,), (2, 5, 3), (1, 1, 3), (0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_products_and_gradients_equal_those_of_torch(shape: tuple[int, ...], bias: bool) -> None:
    inputs = [torch.randn(shape), torch.randn(4, 3), torch.randn(4) if bias else None]
    results = []
    for function in (F.linear, linear):
        leaves = [value if value is None else value.clone().requires_grad_() for value in inputs]
        product = function(*leaves)
        given = [leaf for leaf in leaves if leaf is not None]
        results.append([product, *torch.autograd.grad((product * product.detach().cos()).sum(), given)])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_of_gradients_equal_those_of_torch() -> None:
    """As a gradient penalty needs them, or a product with the Hessian."""
    inputs = [torch.randn(2, 5, 3), torch.randn(4, 3), torch.randn(4)]
    found = []
    for function in (F.linear, linear):
        leaves = [value.clone().requires_grad_() for value in inputs]
        first = torch.autograd.grad(function(*leaves).pow(3).sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(one.square().sum() for one in first), leaves))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_large_products_equal_those_of_torch() -> None:
    x, weight, bias = torch.randn(2, 199, 768), torch.randn(2304, 768), torch.randn(2304)
    torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias), atol=1e-4, rtol=1e-4)


def test_what_lies_in_memory_with_gaps_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN's product of such a tensor is right, and a thousand times slower."""
    monkeypatch.setattr(module, "_multiply", lambda *arguments: pytest.fail("given to oneDNN"))
    x, weight = torch.randn(4, 2, 3)[:, 0], torch.randn(5, 3)
    assert torch.equal(linear(x, weight, None), F.linear(x, weight, None))


def test_gradients_that_nobody_needs_are_not_computed() -> None:
    layer = Linear(3, 4)
    layer.requires_grad_(False)
    x = torch.randn(2, 3, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(2, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_left_to_torch(dtype: torch.dtype) -> None:
    x, weight = torch.randn(2, 3, dtype=dtype), torch.randn(4, 3, dtype=dtype)
    assert torch.equal(linear(x, weight, None), F.linear(x, weight))


def test_autocast_computes_in_bfloat16() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert Linear(3, 4)(torch.randn(2, 3)).dtype == torch.bfloat16
