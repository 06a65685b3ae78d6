"""Batch normalisation against PyTorch's."""

import copy

import pytest
import torch
from torch import nn

from didact.optimization import undecayed
from didact_views.normalization import BatchNorm, of_this_batch, synchronize


@pytest.mark.parametrize(("theirs", "shape"), [(nn.BatchNorm1d, (6, 5)), (nn.BatchNorm2d, (3, 5, 4, 2))])
def test_it_is_pytorchs(theirs, shape):
    reference, own = theirs(5), BatchNorm(5)
    nn.init.normal_(reference.weight)
    nn.init.normal_(reference.bias)
    own.load_state_dict({k: v for k, v in reference.state_dict().items() if k != "num_batches_tracked"})
    for _ in range(3):
        x = torch.randn(shape) * 3 + 1
        torch.testing.assert_close(own(x), reference(x))
    torch.testing.assert_close(own.running_var, reference.running_var)
    own.eval(), reference.eval()
    x = torch.randn(shape)
    torch.testing.assert_close(own(x), reference(x))


def test_a_batch_of_one_row_has_no_spread_and_gives_the_bias():
    own = BatchNorm(3)
    torch.testing.assert_close(own(torch.randn(1, 3)), torch.zeros(1, 3))
    assert own.running_var.isfinite().all()


def test_a_teachers_norm_takes_this_batch_and_remembers_nothing():
    own = BatchNorm(4).eval()
    x = torch.randn(8, 4) * 5 + 2
    before = copy.deepcopy(own.state_dict())
    with of_this_batch(nn.Sequential(own)):
        y = own(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
    torch.testing.assert_close(own(x), x, atol=1e-3, rtol=1e-3)


def test_it_computes_in_float32():
    assert BatchNorm(4)(torch.randn(8, 4).bfloat16()).dtype == torch.float32


def test_a_models_norms_are_replaced_with_their_weights():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    nn.init.normal_(model[1].weight)
    x = torch.randn(2, 3, 8, 8)
    expected = model(x)
    replaced = synchronize(copy.deepcopy(model))
    assert isinstance(replaced[1], BatchNorm)
    torch.testing.assert_close(replaced(x), expected)


def test_a_norm_is_not_decayed():
    assert undecayed(nn.Sequential(BatchNorm(3), BatchNorm(3, affine=False))) == {"0.weight", "0.bias"}
