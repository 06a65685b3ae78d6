"""Images of a network's attention and features on unmasked samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import torch
from torch import Tensor

from didact import Attention, Experiment, Layout, Network, SpecError, Tokens, View, collate
from didact.machine.devices import autocast, choose_precision
from didact.tensors import move
from didact_evaluate.colours import heat, principal_colours
from didact_evaluate.mosaic import mark, paint
from didact_evaluate.sheets import APART, caption, flowed, headed, stacked, titled
from didact_evaluate.shown import STRIP, Shown

Query = Literal["class", "mean", "middle"]
SIDE, LARGEST = 200, 320  # pixels; small matrices are enlarged to about SIDE, large ones reduced to LARGEST


@attrs.frozen(kw_only=True, eq=False)
class Watched:
    """A network, and the experiment that its samples come from.

    Attributes:
        network: the network, in evaluation mode.
        name: ``student`` or ``teacher``.
        experiment: the experiment, which determines the layout of the samples and the precision.
        device: the device of the network.
    """

    network: Network
    name: str
    experiment: Experiment
    device: torch.device

    @torch.no_grad()
    def attention(self, shown: Shown, block: int) -> tuple[Attention, Tokens] | None:
        """Returns a block's attention in one unmasked sample, weights (1, H, Q, V), and its V vectors, or None."""
        with autocast(self.device, choose_precision(self.experiment.training.precision, self.device)):
            view = self._whole(shown)
            tokens = self.network.encoder.place(self.network.encoder.embed(view), None)
            attention = self.network.backbone.attention(tokens, block)
        return None if attention is None else (attention, tokens)

    @torch.no_grad()
    def features(self, shown: Shown) -> tuple[Tensor, Layout]:
        """Returns the backbone's output at each position of one unmasked sample, (T, D) float32, and the layout."""
        with autocast(self.device, choose_precision(self.experiment.training.precision, self.device)):
            context = self.network.contextualize(self.network.encoder.embed(self._whole(shown)), None)
        return context.positions_only(context.output)[0].float().cpu(), context.tokens.layout

    def _whole(self, shown: Shown) -> View:
        return move(collate([shown.content], self.experiment.of_view(0)[0]), self.device)


def attention_sheet(watched: Watched, samples: Sequence[Shown], block: int | None, query: Query) -> Tensor | None:
    """Draws heat maps of the attention of each head of a block, (H, W, 3) uint8; None if the backbone gives none.

    For a grid, the maps show the attention of one query; for sequences, the matrix of all queries.

    Raises:
        SpecError: the backbone has no such block.
    """
    depth = len(watched.network.backbone.blocks)
    index = depth - 1 if block is None else block
    if not 0 <= index < depth:
        raise SpecError(
            f"the attention of block {index} is asked for, and the backbone has {depth}",
            where="attention_block",
            hint=f"0 to {depth - 1}, or None for the last",
        )
    rows = []
    who = ""
    for shown in samples:
        found = watched.attention(shown, index)
        if found is None:
            return None
        drawn, who = _maps(shown, *found, query) if shown.is_grid else _matrices(shown, *found)
        rows.append(drawn)
    about = (
        f"Attention of each head of block {index} (of 0 to {depth - 1}) of the {watched.name} in unmasked samples: "
        f"{who}. Black is the smallest weight of a map, white the largest; the title gives both."
    )
    return headed(flowed(rows, APART), about)


def features_sheet(watched: Watched, samples: Sequence[Shown]) -> Tensor | None:
    """Draws the features of all positions as colours: (H, W, 3) uint8; None if their layout is unknown."""
    found = [watched.features(shown) for shown in samples]
    if any(len(features) != layout.positions or not features.isfinite().all() for features, layout in found):
        return None
    colours, share = principal_colours([features for features, _ in found])
    rows = []
    for shown, (_, layout), colour in zip(samples, found, colours, strict=True):
        assert shown.picture is not None
        canvas = shown.picture if shown.is_grid else shown.picture[: 2 * STRIP]
        rows.append(shown.row([("", shown.picture), ("features", paint(layout, colour, canvas))]))
    about = (
        f"Features of the {watched.name} for unmasked samples: the first three principal components of its output at "
        f"all positions shown, as red, green and blue ({share:.0%} of the variance). Similar colours mean similar "
        f"features."
    )
    return headed(flowed(rows, APART), about)


def _maps(shown: Shown, attention: Attention, tokens: Tokens, query: Query) -> tuple[Tensor, str]:
    """Draws the attention of one query over the grid, for each head; also returns the name of the query."""
    weights = attention.weights[0].float().cpu()  # (H, Q, V)
    picture, middle = shown.picture, None
    assert picture is not None
    if attention.latent:
        of, who = weights.mean(1), "the mean over its latents"  # (H, V)
    elif query == "class" and tokens.num_prefix_tokens:
        of, who = weights[:, 0], "the class token"
    elif query == "middle":
        height, width = tokens.layout.shape
        middle = height // 2 * width + width // 2
        of, who = weights[:, tokens.num_prefix_tokens + middle], "the position framed in red"
        picture = mark(picture, tokens.layout, middle)
    else:
        of, who = weights[:, tokens.num_prefix_tokens :].mean(1), "the mean over all positions"
    maps = of[:, tokens.num_prefix_tokens :]  # (H, T)
    panels = [
        (_name(head, values), paint(tokens.layout, heat(_scaled(values, values)), picture))
        for head, values in enumerate(maps)
    ]
    return shown.row([("", picture), *panels]), who


def _matrices(shown: Shown, attention: Attention, tokens: Tokens) -> tuple[Tensor, str]:
    """Draws the attention matrix of each head over a sequence; also returns an explanation of the matrix."""
    weights = attention.weights[0].float().cpu()[:, :, tokens.num_prefix_tokens :]  # (H, Q, T)
    if not attention.latent:
        weights = weights[:, tokens.num_prefix_tokens :]  # (H, T, T)
    panels = []
    for head, values in enumerate(weights):
        panels.append(titled(heat(_scaled(_sized(values), values)), _name(head, values)))
    if shown.picture is not None:
        side = panels[0].shape[1]
        columns = torch.arange(side) * shown.picture.shape[1] // side
        panels.insert(0, titled(shown.picture[:, columns], "input"))
    reader = "latent" if attention.latent else "position (the first at the top)"
    who = f"each row of a map is one attending {reader}, each column one attended position (the first on the left)"
    block = flowed(panels)
    return stacked([caption(shown.title, block.shape[1]), block], 0), who


def _sized(matrix: Tensor) -> Tensor:
    """Resizes a matrix (Q, T) for display: repeats entries of a small one, takes the maximum per pixel of a large one.

    With a mean instead of the maximum, a diagonal that is one entry wide would fade.
    """
    side = max(matrix.shape)
    if side > LARGEST:
        size = [min(LARGEST, count) for count in matrix.shape]
        return torch.nn.functional.adaptive_max_pool2d(matrix[None], size)[0]
    factor = max(1, SIDE // side)
    return matrix.repeat_interleave(factor, 0).repeat_interleave(factor, 1)


def _scaled(values: Tensor, of: Tensor) -> Tensor:
    """Scales ``values`` (…) so that the minimum of ``of`` is 0 and its maximum 1; all 0 if the two are nearly equal."""
    least, most = float(of.min()), float(of.max())
    return (values - least) / (most - least) if most - least > 1e-6 else torch.zeros_like(values)


def _name(head: int, values: Tensor) -> str:
    least, most = (100 * float(value) for value in values.aminmax())
    digits = 0 if most >= 10 else 1 if most >= 1 else 2
    return f"head {head}: {least:.{digits}f}-{most:.{digits}f}%"
