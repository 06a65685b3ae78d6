"""The inverse of `didact.placing.drop`, for decoders that predict dropped positions."""

from __future__ import annotations

from torch import Tensor

from didact import Tokens


def restore(features: Tensor, tokens: Tokens, fill: Tensor) -> Tensor:
    """Restores a sequence: puts the remaining features at their positions and fills the dropped positions.

    Args:
        features: (R, V, D); the features of the remaining positions of each row, without prefix tokens.
        tokens: the sequence to which the features belong.
        fill: (R, T + 1, D); the values at dropped positions, including padding. The last position receives filler
            rows and is cut off.

    Returns:
        (R, T, D); ``features`` itself if nothing was dropped.
    """
    if tokens.positions is None:
        return features
    places, t = tokens.positions, tokens.layout.positions
    if tokens.padding is not None:
        places = places.masked_fill(tokens.padding[:, tokens.num_prefix_tokens :], t)
    index = places[..., None].expand(-1, -1, features.shape[-1])  # (R, V) -> (R, V, D)
    return fill.scatter(1, index, features)[:, :t]
