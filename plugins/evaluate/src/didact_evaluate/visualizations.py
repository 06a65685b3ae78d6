"""Visualizations: inputs and masks, reconstructions, attention and features of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import attrs
from torch import Tensor

from didact import Batch, DataError, Evaluation, Experiment, Report, RunState, Source
from didact_evaluate.attending import Query, Watched, attention_sheet, features_sheet
from didact_evaluate.batches import first_batch
from didact_evaluate.filling import Found, fillings
from didact_evaluate.masked import inputs_sheet, inputs_text, reconstruction_sheet, reconstruction_text
from didact_evaluate.shown import Shown, shown_views, shown_whole


@attrs.frozen(kw_only=True)
class Visualizations(Evaluation):
    """The first samples of the run, at any step: what training sees of them, and what the network makes of them.

    ``inputs`` shows every view of a sample, and what its masks leave. ``reconstruction`` shows the sample, what the
    first mask leaves, and the sample with each predicted position filled from another sample: with the place whose
    target is nearest to the prediction (squared distance). What it fills in well, it has understood; a soup of
    unrelated patches is noise or collapse. It is left out for methods that do not predict continuous targets of single
    positions.

    ``attention`` shows what each head of a block attends to, if the backbone can tell: over an image, what one query
    does (DINO, Caron et al. 2021, figure 1); of a sequence, all queries, as a matrix. ``features`` shows the first
    three principal components of the network's output at each position as colours (DINOv2, Oquab et al. 2023, figure
    1). For both, the network sees the whole sample.

    Of text, ``inputs`` and ``reconstruction`` are texts with marks. Of sound, ``sound-1`` and so on are the whole
    samples, to be heard. A sample has the same number everywhere.

    Attributes:
        source: whose samples are shown; None takes the experiment's own. It must have pictures, sounds or words.
        samples: how many are shown.
        pool: at most so many samples make up the batch of which they are the first, and in which fillings are looked
            for. It is a micro-batch of the run where that holds fewer, so it fits where training does.
        masks: at most so many masks of a sample are shown.
        network: whose attention and features are shown. ``teacher``: what targets are made of, and the one that has
            seen whole samples; ``student``: what a probe judges by default.
        attention_block: whose attention is shown, from 0 for the lowest; None for the last.
        query: whose attention is shown over an image. ``class``: the class token's where there is one, else ``mean``.
            ``mean``: of all positions, which shows what is read by many. ``middle``: the position in the middle. A
            class token that no loss is computed from, as data2vec's first version has it, reads nothing in particular.
    """

    source: Source | None = None
    samples: int = 6
    pool: int = 64
    masks: int = 8
    network: Literal["student", "teacher"] = "teacher"
    attention_block: int | None = None
    query: Query = "class"

    def validate(self) -> None:
        self.require(self.samples >= 1, "samples", "at least 1")
        self.require(self.pool > self.samples, "pool", f"above samples ({self.samples})")
        self.require(self.masks >= 1, "masks", "at least 1")
        self.require(
            self.attention_block is None or self.attention_block >= 0, "attention_block", "at least 0, or None"
        )

    def prepare(self, experiment: Experiment) -> None:
        source = self.source or experiment.source
        source.prepare()
        _require_something_to_show(source)

    def evaluate(self, state: RunState) -> Report:
        experiment = state.experiment
        source = self.source or experiment.source
        _require_something_to_show(source)
        batch = first_batch(experiment, self.source, self.pool)
        views = shown_views(batch, source, experiment.encoder)
        whole = shown_whole(batch, source, experiment.encoder, self.samples)
        found = fillings(state, batch, len(whole))
        images = dict(self._of_masks(batch, views, found)) | dict(self._of_whole_samples(state, whole))
        return Report(
            metrics={},
            images={name: image for name, image in images.items() if image is not None},
            texts=self._texts(state, batch, views[0], found),
            audio={
                f"sound-{number}": sound
                for number, one in enumerate(whole, 1)
                if (sound := source.audio(one.content)) is not None
            },
        )

    def _of_masks(
        self, batch: Batch, views: Sequence[Sequence[Shown]], found: Found | None
    ) -> Iterator[tuple[str, Tensor | None]]:
        if views[0][0].picture is not None:
            yield "inputs", inputs_sheet(batch, views, self.samples, self.masks)
            yield "reconstruction", None if found is None else reconstruction_sheet(batch, views[0], found)

    def _of_whole_samples(self, state: RunState, whole: Sequence[Shown]) -> Iterator[tuple[str, Tensor | None]]:
        network = state.student() if self.network == "student" else state.teacher()
        watched = Watched(network=network, name=self.network, experiment=state.experiment, device=state.device)
        drawn = whole[0].picture is not None
        if drawn:
            yield "features", features_sheet(watched, whole)
        if drawn or not whole[0].is_grid:  # the matrices of a sequence need no picture
            yield "attention", attention_sheet(watched, whole, self.attention_block, self.query)

    def _texts(self, state: RunState, batch: Batch, shown: Sequence[Shown], found: Found | None) -> dict[str, str]:
        if any(one.words is None for one in shown):
            return {}
        mask = batch.views[0].mask
        replacements = None if mask is None else state.student().encoder.replacements(mask)
        texts = {"inputs": inputs_text(shown[: self.samples], mask, replacements, self.masks)}
        if found is not None:
            texts["reconstruction"] = reconstruction_text(shown, found)
        return texts


def _require_something_to_show(source: Source) -> None:
    content = source.open().content(0)
    if source.image(content) is None and source.audio(content) is None and source.words(content) is None:
        raise DataError(
            f"{type(source).__name__} gives neither images nor audio nor words of its samples",
            where="source",
            hint="remove Visualizations from the experiment's evaluations, or choose a source of images, audio or text",
        )
