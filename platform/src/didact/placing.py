"""The steps between an encoder's two halves: hiding, replacing, repeating and dropping positions; and the way back.

An encoder's ``place`` calls these in the order in which its paper has them; its position codes go between. A decoder
that predicts what was dropped begins with `restore`.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from didact.errors import SpecError
from didact.tensors import BatchMask, Layout, Tokens


def corrupt(features: Tensor, mask: BatchMask | None, embedding: Tensor, content: Tensor | None = None) -> Tensor:
    """Repeats each sample for its M masks, and puts other content where they say so.

    Args:
        features: (B, T, D).
        mask: None leaves the features as they are, unrepeated.
        embedding: (D,); what stands at hidden positions.
        content: (C, D); the vectors of which one stands at a replaced position: number ``replacement`` modulo C. None:
            those of the sample's own positions.

    Returns:
        (R, T, D), R = B·M.
    """
    if mask is None:
        return features
    if mask.masks > 1:
        features = features.repeat_interleave(mask.masks, 0)  # (B, T, D) -> (B·M, T, D)
    rows, t, _ = features.shape
    if mask.replaced is not None and mask.replacement is not None:
        replaced, replacement = mask.replaced.reshape(rows, t, 1), mask.replacement.reshape(rows, t)
        if content is not None:
            other = torch.nn.functional.embedding(replacement % content.shape[0], content)  # (R, T, D)
        else:
            other = features.gather(1, (replacement % t)[..., None].expand_as(features))
        features = torch.where(replaced, other.to(features.dtype), features)
    if mask.hidden is not None:
        features = torch.where(mask.hidden.reshape(rows, t, 1), embedding.to(features.dtype), features)
    return features


def repeat(values: Tensor | None, mask: BatchMask | None) -> Tensor | None:
    """Repeats a tensor (B, …) for each of the M masks: (R, …)."""
    if values is None or mask is None or mask.masks == 1:
        return values
    return values.repeat_interleave(mask.masks, 0)


def drop(tokens: Tokens, mask: BatchMask | None) -> Tokens:
    """Takes dropped positions out of the sequence.

    Args:
        tokens: features (R, T, D) and padding (R, T) of all positions, already repeated, nothing extra yet.
        mask: which positions stay.

    Returns:
        Tokens with features (R, V, D), padding (R, V) and the positions (R, V) that they stand for.
    """
    if mask is None or mask.visible is None:
        return tokens
    width = tokens.features.shape[-1]
    features = tokens.features.gather(1, mask.visible[..., None].expand(-1, -1, width))  # (R, T, D) -> (R, V, D)
    padding = mask.visible_padding
    if tokens.padding is not None:
        gathered = tokens.padding.gather(1, mask.visible)
        padding = gathered if padding is None else gathered | padding
    return attrs.evolve(tokens, features=features, padding=padding, positions=mask.visible)


def prepend(tokens: Tokens, extra: Tensor) -> Tokens:
    """Puts extra tokens (E, D), such as a class token, before every row."""
    rows = tokens.features.shape[0]
    count = extra.shape[0]
    features = torch.cat([extra.to(tokens.features.dtype).expand(rows, -1, -1), tokens.features], 1)
    padding = tokens.padding
    if padding is not None:
        padding = torch.cat([padding.new_zeros(rows, count), padding], 1)
    return attrs.evolve(tokens, features=features, padding=padding, extra=tokens.extra + count)


def restore(features: Tensor, tokens: Tokens, fill: Tensor) -> Tensor:
    """Puts what became of a sequence back in its places, as a decoder does that predicts what was dropped.

    Args:
        features: (R, V, D); of the positions that a row still holds, nothing extra.
        tokens: the sequence that they stand for.
        fill: (R, T + 1, D); what stands where positions were dropped, padding included. The last one takes what is
            filler, and is cut off.

    Returns:
        (R, T, D); the features themselves where nothing was dropped.
    """
    if tokens.positions is None:
        return features
    places, t = tokens.positions, tokens.layout.positions
    if tokens.padding is not None:
        places = places.masked_fill(tokens.padding[:, tokens.extra :], t)
    index = places[..., None].expand(-1, -1, features.shape[-1])  # (R, V) -> (R, V, D)
    return fill.scatter(1, index, features)[:, :t]


def sincos_positions(layout: Layout, width: int) -> Tensor:
    """Fixed sines and cosines of each position's place along every axis of a layout, in MAE's order of channels.

    In a grid the first half of the channels encodes the column, the second the row; each holds all sines, then all
    cosines, of the frequencies 10000^(-i / n), i from 0 to n - 1, n the sines of an axis. Vaswani et al. 2017, section
    3.5, for a sequence; the grid is MAE's (He et al. 2022).

    Args:
        layout: of A axes.
        width: D, a multiple of 2·A.

    Returns:
        (T, D) float32.

    Raises:
        SpecError: the width is no such multiple.
    """
    waves, left = divmod(width, 2 * len(layout.shape))
    if left:
        raise SpecError(
            f"sines and cosines along {len(layout.shape)} axes need a width that is a multiple of "
            f"{2 * len(layout.shape)}, got {width}",
            where="width",
            mend="choose another width, or other positions",
        )
    frequencies = 10_000.0 ** (-torch.arange(waves, dtype=torch.float64) / waves)
    places = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in layout.shape), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in reversed(places)]  # A of (T, waves)
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).float()
