"""Convolutions over time of channels-last tensors, which need no transposition before norms and projections."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelsLastConv1d(nn.Conv1d):
    """`torch.nn.Conv1d` from (B, T, C) to (B, T', C'); its weights are (C', C/groups, k) as usual.

    A tensor (B, T, C) has the memory layout of an image of height 1 in PyTorch's channels-last format, for which every
    backend has kernels. Compared with `Conv1d` between two transpositions, forward and backward in bfloat16 on one CPU
    core take 0.6 of the time for strided 512→512 feature convolutions, and half for grouped positional ones.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Convolves (B, T, C) over T."""
        plain = self.groups == 1 and self.padding == (0,)
        if plain and self.in_channels == 1:
            # for one channel, a product with the windows as rows of a matrix is fastest
            windows = features[..., 0].unfold(1, self.kernel_size[0], self.stride[0])  # (B, S, 1) -> (B, T, k)
            return F.linear(windows, self.weight[:, 0], self.bias)
        if self.groups == self.in_channels > 1 and features.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # oneDNN's bfloat16 kernel for one channel per group hangs (PyTorch 2.14, AVX-512)
            with torch.autocast("cpu", enabled=False):
                return super().forward(features.float().transpose(1, 2)).transpose(1, 2)
        kernel = self.weight.unsqueeze(2)  # (C', C/groups, k) -> (C', C/groups, 1, k)
        if plain and _gains_from_own_gradient(features):
            convolved: Tensor = _Convolution.apply(_as_image(features), kernel, self.bias, self.stride[0])
        else:
            stride, padding = (1, *self.stride), (0, *self.padding)
            convolved = F.conv2d(_as_image(features), kernel, self.bias, stride, padding, 1, self.groups)
        return _as_sequence(convolved)


class FeatureConvolution(nn.Module):
    """A layer of the waveform encoder: strided convolution without bias or padding, LayerNorm over channels, GELU.

    This is the layer of wav2vec 2.0 with ``extractor_mode=layer_norm``, which data2vec always uses.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = ChannelsLastConv1d(in_channels, channels, kernel, stride, bias=False)
        nn.init.kaiming_normal_(self.conv.weight)
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (B, T, C) to (B, ⌊(T - kernel) / stride⌋ + 1, channels)."""
        return F.gelu(self.norm(self.conv(features)))


class PositionalConvolution(nn.Module):
    """A layer of data2vec's positions: grouped convolution that keeps the length, LayerNorm without parameters, GELU.

    Five of them with kernel 19 have nearly the receptive field of wav2vec 2.0's single one of 95, and train more stably
    (data2vec §4.2).
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.conv = ChannelsLastConv1d(width, width, kernel, padding=kernel // 2, groups=groups)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (R, T, D) to (R, T, D)."""
        convolved = self.conv(features)[:, : features.shape[1]]  # an even kernel gives one extra frame at the end
        return F.gelu(F.layer_norm(convolved, convolved.shape[-1:]))


class _Convolution(torch.autograd.Function):
    """A convolution along an image's width that computes the gradient of its weights by one matrix product per tap.

    For channels-last images, oneDNN's float32 kernel for that gradient is three times slower than its matrix products.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, kernel: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(image, kernel)
        ctx.stride = stride
        return F.conv2d(image, kernel, bias, (1, stride))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        image, kernel = ctx.saved_tensors
        for_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        # oneDNN's products have no derivative, so PyTorch computes second derivatives, which training does not need
        quick = not torch.is_grad_enabled()
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1] and not quick, False)
        settings = (None, (1, ctx.stride), (0, 0), (1, 1), False, (0, 0), 1, wanted)
        for_image = for_kernel = None
        if any(wanted):
            for_image, for_kernel, _ = torch.ops.aten.convolution_backward(gradient, image, kernel, *settings)
        if ctx.needs_input_grad[1] and quick:
            for_kernel = _kernel_gradient(_as_sequence(image), _as_sequence(gradient), kernel.shape[-1], ctx.stride)
        return for_image, for_kernel, for_bias, None


def _kernel_gradient(features: Tensor, gradient: Tensor, taps: int, stride: int) -> Tensor:
    """The gradient (C', C, 1, k) of a kernel from its input (B, T, C) and its output's gradient (B, T', C')."""
    gradient = gradient.contiguous()
    width = stride * (gradient.shape[1] - 1) + 1
    by_tap = []
    for tap in range(taps):
        met = features[:, tap : tap + width : stride].contiguous()  # (B, T', C); the inputs of this tap
        # one product per sample, which stays in the cache: (C', T') @ (T', C)
        products = [_product(g.t(), x) for g, x in zip(gradient, met, strict=True)]
        by_tap.append(torch.stack(products).sum(0) if len(products) > 1 else products[0])
    return torch.stack(by_tap, -1).unsqueeze(2)  # k × (C', C) -> (C', C, 1, k)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product by oneDNN, which takes half of MKL's time on CPUs for which MKL is not optimised.

    Both factors must be dense, transposed or not. For other strides oneDNN uses a reference kernel, which is a thousand
    times slower.
    """
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")
    return product


def _gains_from_own_gradient(features: Tensor) -> bool:
    exact = features.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return exact and features.device.type == "cpu" and torch._C._has_mkldnn


def _as_image(features: Tensor) -> Tensor:
    return features.transpose(1, 2).unsqueeze(2)  # (B, T, C) -> (B, C, 1, T), channels last in memory


def _as_sequence(image: Tensor) -> Tensor:
    return image.squeeze(2).transpose(1, 2)  # (B, C, 1, T) -> (B, T, C)
