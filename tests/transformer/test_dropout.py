from __future__ import annotations

import pytest
import torch

from didact_transformer.dropout import Dropout, dropout


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_is_dropped_and_the_expectation_kept(share: float, dtype: torch.dtype) -> None:
    n = 1_000_003  # not a multiple of four: the last word of random bits is used in part
    x = torch.full((n,), 2.0, dtype=dtype)
    result = dropout(x, share).float()
    kept = result != 0
    deviation = (share * (1 - share) / n) ** 0.5
    assert abs(kept.float().mean() - (1 - share)) < 5 * deviation
    scaled = torch.tensor(2 / (1 - round(share * 65536) / 65536)).to(dtype).item()
    assert torch.allclose(result[kept], torch.tensor(scaled), rtol=1e-5)


def test_what_is_dropped_is_independent_from_value_to_value() -> None:
    kept = (dropout(torch.ones(4 * 100_000), 0.5) != 0).float() - 0.5
    for lag in (1, 2, 3, 4, 7):  # decisions share words of four
        assert abs((kept[lag:] * kept[:-lag]).mean()) < 0.25 * 5 / 400_000**0.5


def test_the_gradient_passes_where_the_value_does() -> None:
    x = torch.randn(50, 7, requires_grad=True)
    result = dropout(x, 0.3)
    (gradient,) = torch.autograd.grad(result.sum(), x)
    torch.testing.assert_close(gradient * x, result)


def test_a_share_of_zero_and_evaluation_change_nothing() -> None:
    x = torch.randn(5)
    assert dropout(x, 0.0) is x
    assert Dropout(0.5).eval()(x) is x
    assert not torch.equal(Dropout(0.5)(torch.ones(100)), torch.ones(100))


def test_values_that_are_not_contiguous_keep_their_places() -> None:
    x = torch.arange(1.0, 13.0).reshape(3, 4).t()
    result = dropout(x, 0.5)
    assert result.shape == (4, 3)
    assert torch.equal(result[result != 0], 2 * x[result != 0])
