"""Pictures of what a network sees and must predict, and of what it takes the hidden parts for."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor

from didact import (
    Batch,
    BatchMask,
    DataError,
    Evaluation,
    Experiment,
    FeatureEncoder,
    Layout,
    Report,
    Source,
    Subject,
    View,
)
from didact_evaluate.batches import training_batches
from didact_evaluate.mosaic import arrange, cell, enlarge, hide, paste


@attrs.frozen(kw_only=True)
class Pictures(Evaluation):
    """Two pictures: what training sees, and reconstructions by nearest neighbour.

    ``inputs`` shows every view of a sample, beside what its masks leave. ``reconstruction`` shows the sample, what the
    first mask leaves, and the sample with each predicted position filled from another sample: with the place whose
    target is nearest to the prediction (squared distance). What it fills in well, it has understood; a soup of
    unrelated patches is noise or collapse. It is left out for methods that do not predict continuous targets of single
    positions.

    Attributes:
        source: whose samples are shown; None takes the experiment's own. It must have pictures, as images and
            spectrograms do and text does not.
        samples: how many are shown.
        pool: how many samples the fillings are looked for in, those shown included; all of them go through the network
            in one batch.
        masks: at most so many masks of a sample are shown.
    """

    source: Source | None = None
    samples: int = 6
    pool: int = 64
    masks: int = 8

    def validate(self) -> None:
        self.require(self.samples >= 1, "samples", "at least 1")
        self.require(self.pool > self.samples, "pool", f"above samples ({self.samples})")
        self.require(self.masks >= 1, "masks", "at least 1")

    def prepare(self, experiment: Experiment) -> None:
        source = self.source or experiment.source
        source.prepare()
        _require_pictures(source)

    def evaluate(self, subject: Subject) -> Report:
        experiment = subject.experiment
        source = self.source or experiment.source
        _require_pictures(source)
        batch = next(training_batches(experiment, self.source, self.pool, self.pool))
        drawn = [
            [_Shown.of(source, experiment.encoder, view, index) for index in range(len(batch.ids))]
            for view in batch.views
        ]
        rows = [
            [
                picture
                for view, shown in zip(batch.views, drawn, strict=True)
                for picture in _masked_row(shown[index], view.mask, index, self.masks)
            ]
            for index in range(self._count(batch))
        ]
        images = {"inputs": arrange(rows)}
        view, shown = batch.views[0], drawn[0]
        filling = _fillings(subject, batch, self._count(batch))
        if filling is not None:
            rows = [
                [*_masked_row(shown[index], view.mask, index, 1), _filled(shown, index, found, view.layout.positions)]
                for index, found in filling.items()
            ]
            images["reconstruction"] = arrange(rows)
        return Report(metrics={}, images=images)

    def _count(self, batch: Batch) -> int:
        return min(self.samples, len(batch.ids))


@attrs.frozen(kw_only=True, eq=False)
class _Shown:
    """A sample's picture (H, W, 3) uint8, and the arrangement of its own positions on it."""

    picture: Tensor
    layout: Layout

    @classmethod
    def of(cls, source: Source, encoder: FeatureEncoder, view: View, index: int) -> _Shown:
        content, layout = view.content[index], view.layout
        if view.lengths is not None:
            content = content[..., : int(view.lengths[index])]
            layout = encoder.layout(tuple(content.shape))
        picture = source.picture(content)
        assert picture is not None
        return cls(picture=enlarge(picture.cpu()), layout=layout)


def _masked_row(shown: _Shown, mask: BatchMask | None, index: int, masks: int) -> list[Tensor]:
    """The sample, and what its first masks leave of it."""
    if mask is None:
        return [shown.picture]
    held = shown.layout.positions
    predicted = mask.predicted[index, :masks, :held]  # (B, M, T) -> (masks, t)
    return [shown.picture, *(hide(shown.picture, shown.layout, hidden) for hidden in predicted)]


def _fillings(subject: Subject, batch: Batch, count: int) -> Mapping[int, list[tuple[int, int]]] | None:
    """For each of the first samples: its predicted positions, and where in the batch the nearest target stands.

    Returns:
        sample → (position, index ``b·T + t`` of the filling); None where there are no targets of single positions.
    """
    view = batch.views[0]
    if view.mask is None:
        return None
    _, targets = subject.targets(batch)
    predictions = subject.predict(batch).predictions
    fitting = [t for t in targets if t.view == 0 and t.level == "position" and t.values.is_floating_point()]
    if predictions is None or len(fitting) != 1 or len(predictions) != view.mask.count:
        return None
    candidates = fitting[0].values.float().flatten(0, 1)  # (B, T, D) -> (B·T, D)
    t, m = view.layout.positions, view.mask.masks
    owner = torch.arange(len(candidates), device=candidates.device) // t  # (B·T,)
    unusable = (
        torch.zeros_like(owner, dtype=torch.bool) if view.padding is None else view.padding.flatten().to(owner.device)
    )
    found = {}
    for index in range(count):
        rows = (view.mask.predictions // t == index * m).nonzero().flatten()  # behind the first mask
        distance = torch.cdist(predictions[rows.to(predictions.device)].float(), candidates)  # (n, B·T)
        nearest = distance.masked_fill(unusable | (owner == index), torch.inf).argmin(1).tolist()
        found[index] = list(zip((view.mask.predictions[rows] % t).tolist(), nearest, strict=True))
    return found


def _filled(shown: list[_Shown], index: int, found: list[tuple[int, int]], positions: int) -> Tensor:
    """The picture of sample ``index`` with its predicted positions filled from others."""
    own = shown[index]
    drawn = own.picture.clone()
    for position, filling in found:
        other = shown[filling // positions]
        patch = other.picture[cell(other.layout, filling % positions, other.picture)]
        paste(drawn, cell(own.layout, position, own.picture), patch)
    return drawn


def _require_pictures(source: Source) -> None:
    if source.picture(source.open().content(0)) is None:
        raise DataError(
            f"{type(source).__name__} has no pictures of its samples",
            where="source",
            mend="take Pictures out of the experiment's evaluations, or name a source of images or sound",
        )
