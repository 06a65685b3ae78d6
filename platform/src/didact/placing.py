"""The steps between an encoder's two halves: hiding, replacing, repeating and dropping positions.

An encoder's ``place`` calls these functions in the order of its paper and adds position codes between them.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from didact.tensors import BatchMask, Tokens


def corrupt(
    features: Tensor,
    mask: BatchMask | None,
    embedding: Tensor,
    *,
    padding: Tensor | None,
    content: Tensor | None = None,
) -> Tensor:
    """Repeats each sample for its C contexts, and replaces content as the masks specify.

    Args:
        features: (B, T, D).
        mask: None leaves the features as they are, unrepeated.
        embedding: (D,); the vector that is put at hidden positions.
        padding: (B, T) bool; true = not data, at the end of a sample. None: no sample is padded.
        content: (C, D); a replaced position gets vector number ``replacement`` modulo C. None: it gets a vector of the
            sample's own positions, never of its padding.

    Returns:
        (R, T, D), R = B·C.
    """
    if mask is None:
        return features
    if mask.contexts > 1:
        features = features.repeat_interleave(mask.contexts, 0)  # (B, T, D) -> (B·C, T, D)
    rows, t, _ = features.shape
    if mask.replaced is not None and mask.replacement is not None:
        replaced, replacement = mask.replaced.reshape(rows, t, 1), mask.replacement.reshape(rows, t)
        if content is not None:
            other = torch.nn.functional.embedding(replacement % content.shape[0], content)  # (R, T, D)
        else:
            if padding is not None:
                held = (~padding).sum(1, keepdim=True).clamp(min=1)  # (B, 1)
                replacement = replacement % held.repeat_interleave(mask.contexts, 0)
            other = features.gather(1, (replacement % t)[..., None].expand_as(features))  # (R, T, D)
        features = torch.where(replaced, other.to(features.dtype), features)
    if mask.hidden is not None:
        features = torch.where(mask.hidden.reshape(rows, t, 1), embedding.to(features.dtype), features)
    return features


def repeat(values: Tensor | None, mask: BatchMask | None) -> Tensor | None:
    """Repeats a tensor (B, …) for each of the C contexts: (R, …)."""
    if values is None or mask is None or mask.contexts == 1:
        return values
    return values.repeat_interleave(mask.contexts, 0)


def drop(tokens: Tokens, mask: BatchMask | None) -> Tokens:
    """Removes dropped positions from the sequence.

    Args:
        tokens: features (R, T, D) and padding (R, T) of all positions, already repeated, without prefix tokens.
        mask: the positions to keep.

    Returns:
        Tokens with features (R, V, D), padding (R, V) and the positions (R, V) of the remaining features.
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
    """Prepends extra tokens (E, D), such as a class token, to every row."""
    rows = tokens.features.shape[0]
    count = extra.shape[0]
    features = torch.cat([extra.to(tokens.features.dtype).expand(rows, -1, -1), tokens.features], 1)
    padding = tokens.padding
    if padding is not None:
        padding = torch.cat([padding.new_zeros(rows, count), padding], 1)
    return attrs.evolve(tokens, features=features, padding=padding, num_prefix_tokens=tokens.num_prefix_tokens + count)
