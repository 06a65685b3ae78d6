"""Normalisation of targets against PyTorch's own layers and the definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didact_distill import normalize


@pytest.fixture
def values():
    return torch.randn(3, 11, 8, generator=torch.Generator().manual_seed(0)) * 5 + 2  # (B, T, D)


def test_instance_normalisation_is_pytorchs_over_time(values):
    expected = torch.nn.functional.instance_norm(values.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(normalize(values, "instance"), expected)


def test_batch_normalisation_is_pytorchs_over_samples_and_time(values):
    expected = torch.nn.functional.batch_norm(values.flatten(0, 1), None, None, training=True).view_as(values)
    torch.testing.assert_close(normalize(values, "batch"), expected)


def test_layer_normalisation_is_pytorchs_over_channels(values):
    torch.testing.assert_close(normalize(values, "layer"), torch.nn.functional.layer_norm(values, (8,)))


def test_none_only_goes_to_float32(values):
    half = values.bfloat16()
    assert torch.equal(normalize(half, "none"), half.float())


@pytest.mark.parametrize("kind", ["instance", "batch", "layer"])
@given(shorter=st.integers(2, 10), garbage=st.floats(-1e4, 1e4))
def test_padding_changes_no_result(kind, shorter, garbage):
    values = torch.randn(2, 11, 4, generator=torch.Generator().manual_seed(1))
    padding = torch.zeros(2, 11, dtype=torch.bool)
    padding[1, shorter:] = True
    filled = values.masked_fill(padding[..., None], garbage)
    clean = values.masked_fill(padding[..., None], 0.0)
    got, expected = (normalize(x, kind, padding)[~padding] for x in (filled, clean))
    torch.testing.assert_close(got, expected)
    if kind == "instance":
        alone = normalize(values[1:, :shorter], kind)
        torch.testing.assert_close(normalize(filled, kind, padding)[1, :shorter], alone[0])
