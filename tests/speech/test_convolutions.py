"""The channels-last convolutions against PyTorch's own, and the layers against their definitions."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from didact_speech.convolutions import ChannelsLastConv1d, FeatureConvolution, PositionalConvolution


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.sampled_from([1, 2, 6]),
    out=st.sampled_from([2, 6]),
    kernel=st.integers(1, 6),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    grouped=st.booleans(),
    bias=st.booleans(),
    extra=st.integers(0, 9),
)
def test_a_convolution_and_its_gradients_equal_conv1d(
    batch: int, channels: int, out: int, kernel: int, stride: int, padding: int, grouped: bool, bias: bool, extra: int
) -> None:
    groups = 2 if grouped and channels % 2 == 0 else 1
    torch.manual_seed(0)
    ours = ChannelsLastConv1d(channels, out, kernel, stride, padding, groups=groups, bias=bias).double()
    mine = torch.randn(batch, kernel + extra, channels, dtype=torch.float64, requires_grad=True)
    theirs = mine.detach().clone().requires_grad_()
    weight = ours.weight.detach().clone().requires_grad_()
    bias_value = None if ours.bias is None else ours.bias.detach()
    expected = F.conv1d(theirs.transpose(1, 2), weight, bias_value, stride, padding, 1, groups).transpose(1, 2)
    found = ours(mine)
    assert torch.allclose(found, expected)
    gradient = torch.randn_like(found)
    found.backward(gradient)
    expected.backward(gradient)
    assert torch.allclose(mine.grad, theirs.grad)
    assert torch.allclose(ours.weight.grad, weight.grad)


def test_a_feature_layer_is_convolution_then_norm_over_channels_then_gelu() -> None:
    torch.manual_seed(0)
    layer = FeatureConvolution(3, 8, kernel=5, stride=2)
    torch.nn.init.normal_(layer.norm.weight)
    torch.nn.init.normal_(layer.norm.bias)
    features = torch.randn(2, 21, 3)
    convolved = F.conv1d(features.transpose(1, 2), layer.conv.weight, stride=2)
    centred = convolved - convolved.mean(1, keepdim=True)
    normed = centred / (convolved.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = F.gelu(normed * layer.norm.weight[:, None] + layer.norm.bias[:, None]).transpose(1, 2)
    assert torch.allclose(layer(features), expected, atol=1e-5)
    assert layer.conv.bias is None


@pytest.mark.parametrize("kernel", [4, 5])
def test_a_positional_layer_keeps_the_length_whether_its_kernel_is_odd_or_even(kernel: int) -> None:
    torch.manual_seed(0)
    layer = PositionalConvolution(8, kernel, groups=2)
    features = torch.randn(2, 11, 8)
    convolved = F.conv1d(features.transpose(1, 2), layer.conv.weight, layer.conv.bias, 1, kernel // 2, 1, 2)
    convolved = convolved[:, :, :11]  # fairseq's SamePad takes an even kernel's surplus frame from the end
    centred = convolved - convolved.mean(1, keepdim=True)
    expected = F.gelu(centred / (convolved.var(1, correction=0, keepdim=True) + 1e-5).sqrt()).transpose(1, 2)
    assert torch.allclose(layer(features), expected, atol=1e-5)
    assert {name for name, _ in layer.named_parameters()} == {"conv.weight", "conv.bias"}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_quick_float32_gradient_equals_the_exact_one(batch: int, bias: bool) -> None:
    torch.manual_seed(0)
    quick = ChannelsLastConv1d(6, 8, 5, stride=2, bias=bias)
    exact = ChannelsLastConv1d(6, 8, 5, stride=2, bias=bias).double()
    exact.load_state_dict(quick.state_dict())
    gradients = []
    for layer, dtype in ((quick, torch.float32), (exact, torch.float64)):
        torch.manual_seed(1)
        features = torch.randn(batch, 40, 6, dtype=torch.float64).to(dtype).requires_grad_()
        convolved = layer(features)
        (convolved.sum() + convolved.square().sum()).backward()
        layer(features).sum().backward()  # a gradient that is one number, expanded
        gradients.append([features.grad, *(weight.grad for weight in layer.parameters())])
    for mine, theirs in zip(*gradients, strict=True):
        assert torch.allclose(mine.double(), theirs, rtol=1e-4, atol=1e-4)


def test_a_frozen_convolution_still_gives_its_input_a_gradient() -> None:
    layer = ChannelsLastConv1d(4, 4, 3, stride=2).requires_grad_(False)
    features = torch.randn(2, 9, 4, requires_grad=True)
    layer(features).sum().backward()
    assert features.grad is not None
    assert layer.weight.grad is None


@pytest.mark.timeout(300)
def test_one_channel_per_group_returns_in_bfloat16():
    convolution = ChannelsLastConv1d(16, 16, 19, padding=9, groups=16)
    features = torch.randn(2, 240, 16)
    expected = F.conv1d(features.transpose(1, 2), convolution.weight, convolution.bias, padding=9, groups=16).transpose(
        1, 2
    )
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(convolution(features), expected)


def test_gradients_of_gradients_equal_those_of_torch() -> None:
    """As a gradient penalty needs them, or a product with the Hessian."""
    torch.manual_seed(0)
    quick = ChannelsLastConv1d(6, 8, 5, stride=2, bias=True)
    given = torch.randn(2, 40, 6)
    found = []
    for of_torch in (False, True):
        features = given.clone().requires_grad_()
        if of_torch:
            convolved = torch.nn.functional.conv1d(features.transpose(1, 2), quick.weight, quick.bias, 2).transpose(
                1, 2
            )
        else:
            convolved = quick(features)
        leaves = [features, *quick.parameters()]
        first = torch.autograd.grad(convolved.pow(3).sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(one.square().sum() for one in first), leaves))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs.view_as(mine), rtol=1e-3, atol=1e-2)
