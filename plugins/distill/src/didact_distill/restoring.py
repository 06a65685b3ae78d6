"""What a decoder that predicts dropped positions begins with: the way back from `didact.placing.drop`."""

from __future__ import annotations

from torch import Tensor

from didact import Tokens


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
        places = places.masked_fill(tokens.padding[:, tokens.num_prefix_tokens :], t)
    index = places[..., None].expand(-1, -1, features.shape[-1])  # (R, V) -> (R, V, D)
    return fill.scatter(1, index, features)[:, :t]
