"""A sample as it is drawn: its picture, what its positions are, and how sheets of samples look."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from didact import Batch, FeatureEncoder, Layout, Source, View
from didact_evaluate.mosaic import RED, enlarge, paint, stretch
from didact_evaluate.sheets import caption, flowed, stacked, timeline, titled

STRIP = 14  # pixels of a strip of colours under a timeline
SEEN = (225, 225, 225)  # what a mask leaves, on its strip


@attrs.frozen(kw_only=True, eq=False)
class Shown:
    """One view of a sample.

    Attributes:
        content: (*axes), without padding.
        layout: of its own positions.
        title: its number on all sheets, and its name.
        source: that says how it looks and sounds.
    """

    content: Tensor
    layout: Layout
    title: str
    source: Source

    @property
    def is_grid(self) -> bool:
        """Whether positions cover the picture in rows and columns; else they follow each other over time."""
        return len(self.layout.shape) == 2

    @functools.cached_property
    def picture(self) -> Tensor | None:
        """(H, W, 3) uint8, large enough to be looked at; None where the source has none."""
        picture = self.source.image(self.content)
        if picture is None:
            return None
        return enlarge(picture.cpu()) if self.is_grid else stretch(picture.cpu())

    @functools.cached_property
    def words(self) -> tuple[str, ...] | None:
        """One for each position; None where the source has none, or a position is not one of them."""
        words = self.source.words(self.content)
        return words if words is not None and len(words) == self.layout.positions else None

    def bars(self, hidden: Tensor) -> Tensor:
        """A strip (14, W, 3) uint8 under the picture, red where ``hidden`` (T,) is true."""
        assert self.picture is not None
        colours = torch.tensor([SEEN, RED], dtype=torch.uint8)[hidden.long().cpu()]  # (T, 3)
        return paint(self.layout, colours, self.picture[:STRIP])

    def row(self, panels: Sequence[tuple[str, Tensor]]) -> Tensor:
        """The sample's panels, each with its name and (h, w, 3) uint8, as a block (H, W, 3) uint8.

        Those of a grid stand beside each other, those of a sequence under each other, over an axis of time.
        """
        if self.is_grid:
            (_, first), *others = panels
            return flowed([titled(first, self.title), *(titled(picture, name) for name, picture in others)])
        drawn = timeline(panels, *self._extent())
        return stacked([caption(self.title, drawn.shape[1]), drawn], 0)

    def _extent(self) -> tuple[float, str]:
        """How long it is, in seconds where they are known, else in positions."""
        rate_hz = self.source.signal().rate_hz
        return (self.content.shape[-1] / rate_hz, "seconds") if rate_hz else (float(self.layout.positions), "positions")


def shown_views(batch: Batch, source: Source, encoder: FeatureEncoder) -> list[list[Shown]]:
    """Every sample of a batch as it is drawn, view by view, without its padding."""
    opened = source.open()
    names = [opened.name(sample) for sample in batch.ids.tolist()]
    views = []
    for number, view in enumerate(batch.views, 1):
        of_many = f", view {number}" if len(batch.views) > 1 else ""
        titles = [f"{place}{of_many}  {name}" for place, name in enumerate(names, 1)]
        views.append([_shown(source, encoder, view, index, title) for index, title in enumerate(titles)])
    return views


def shown_whole(batch: Batch, source: Source, encoder: FeatureEncoder, count: int) -> list[Shown]:
    """The first ``count`` samples of a batch, each whole and not augmented, as an evaluation sees it."""
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
