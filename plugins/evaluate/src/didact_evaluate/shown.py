"""A sample prepared for drawing: its image, its positions, and its panels on a sheet."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from didact import Batch, FeatureEncoder, Layout, Source, View
from didact_evaluate.mosaic import RED, enlarge, paint, stretch
from didact_evaluate.sheets import caption, flowed, stacked, timeline, titled

STRIP = 14  # pixels; height of a strip of colours in a timeline
SEEN = (225, 225, 225)  # colour of visible positions on the strip of a mask


@attrs.frozen(kw_only=True, eq=False)
class Shown:
    """One view of a sample.

    Attributes:
        content: (*axes), without padding.
        layout: layout of the sample's positions, without padding.
        title: number of the sample, the same on all sheets, and its name.
        source: source of the sample, which converts it to an image, words or audio.
    """

    content: Tensor
    layout: Layout
    title: str
    source: Source

    @property
    def is_grid(self) -> bool:
        """Whether the positions cover the image in rows and columns; if not, they are a sequence over time."""
        return len(self.layout.shape) == 2

    @functools.cached_property
    def picture(self) -> Tensor | None:
        """The sample's image, (H, W, 3) uint8, enlarged for display; None if the source gives none."""
        picture = self.source.image(self.content)
        if picture is None:
            return None
        return enlarge(picture.cpu()) if self.is_grid else stretch(picture.cpu())

    @functools.cached_property
    def words(self) -> tuple[str, ...] | None:
        """The sample's words, one for each position; None if the source gives none or not one per position."""
        words = self.source.words(self.content)
        return words if words is not None and len(words) == self.layout.positions else None

    def bars(self, hidden: Tensor) -> Tensor:
        """Draws a strip (14, W, 3) uint8 for use under the image, red where ``hidden`` (T,) is true."""
        assert self.picture is not None
        colours = torch.tensor([SEEN, RED], dtype=torch.uint8)[hidden.long().cpu()]  # (T, 3)
        return paint(self.layout, colours, self.picture[:STRIP])

    def row(self, panels: Sequence[tuple[str, Tensor]]) -> Tensor:
        """Combines the sample's panels, each a name and an image (h, w, 3) uint8, into a block (H, W, 3) uint8.

        The panels of a grid are placed side by side; those of a sequence are stacked above a time axis.
        """
        if self.is_grid:
            (_, first), *others = panels
            return flowed([titled(first, self.title), *(titled(picture, name) for name, picture in others)])
        drawn = timeline(panels, *self._extent())
        return stacked([caption(self.title, drawn.shape[1]), drawn], 0)

    def _extent(self) -> tuple[float, str]:
        """Returns the length of the sample, in seconds if the rate is known, else in positions."""
        rate_hz = self.source.signal().rate_hz
        return (self.content.shape[-1] / rate_hz, "seconds") if rate_hz else (float(self.layout.positions), "positions")


def shown_views(batch: Batch, source: Source, encoder: FeatureEncoder) -> list[list[Shown]]:
    """Prepares every sample of a batch for drawing, view by view, without padding."""
    opened = source.open()
    names = [opened.name(sample) for sample in batch.ids.tolist()]
    views = []
    for number, view in enumerate(batch.views, 1):
        of_many = f", view {number}" if len(batch.views) > 1 else ""
        titles = [f"{place}{of_many}  {name}" for place, name in enumerate(names, 1)]
        views.append([_shown(source, encoder, view, index, title) for index, title in enumerate(titles)])
    return views


def shown_whole(batch: Batch, source: Source, encoder: FeatureEncoder, count: int) -> list[Shown]:
    """Prepares the first ``count`` samples of a batch for drawing, unmasked and without augmentation."""
    opened = source.open()
    return [
        Shown(
            content=(content := opened.content(sample)),
            layout=encoder.layout(tuple(content.shape)),
            title=f"{place}  {opened.name(sample)}",
            source=source,
        )
        for place, sample in enumerate(batch.ids.tolist()[:count], 1)
    ]


def _shown(source: Source, encoder: FeatureEncoder, view: View, index: int, title: str) -> Shown:
    content, layout = view.content[index], view.layout
    if view.lengths is not None:
        content = content[..., : int(view.lengths[index])]
        layout = encoder.layout(tuple(content.shape))
    return Shown(content=content, layout=layout, title=title, source=source)
