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
from didact_evaluate.media import png, wav
from didact_evaluate.shown import Shown, shown_views, shown_whole


@attrs.frozen(kw_only=True)
class Visualizations(Evaluation):
    """Visualizations of the run's first samples: their masked inputs, and the network's outputs for them.

    ``inputs`` shows every view of a sample and the parts that its masks leave visible. ``reconstruction`` shows the
    sample, the parts that the first mask leaves visible, and the sample with each predicted position filled from
    another sample: with the position whose target is nearest to the prediction (squared distance). Plausible fillings
    mean that the network predicts the content; unrelated patches mean noise or collapse. ``reconstruction`` is omitted
    for methods that do not predict continuous targets of single positions.

    ``attention`` shows the attention of each head of a block, if the backbone gives its weights: for an image, the
    attention of one query (DINO, Caron et al. 2021, figure 1); for a sequence, the matrix of all queries. ``features``
    shows the first three principal components of the network's output at each position as colours (DINOv2, Oquab et al.
    2023, figure 1). Both use unmasked samples.

    For text, ``inputs`` and ``reconstruction`` are marked texts. For audio, ``sound-1``, ``sound-2``, … are the
    unmasked samples. A sample has the same number in all outputs.

    Attributes:
        source: source of the samples; None takes the experiment's own. It must give images, audio or words.
        samples: number of samples shown.
        pool: largest number of samples in the batch whose first samples are shown and whose other samples supply the
            fillings. If the run's micro-batch is smaller, the micro-batch is used, so memory suffices if it does for
            training.
        masks: largest number of masks shown for each sample.
        network: the network whose attention and features are shown: ``teacher``, which computes the targets from
            unmasked samples, or ``student``, which a probe evaluates by default.
        attention_block: index of the block whose attention is shown, from 0 for the lowest; None for the last.
        query: the query whose attention is shown over an image. ``class``: the class token if there is one, else
            ``mean``. ``mean``: the mean over all positions. ``middle``: the position in the middle. The attention of a
            class token without a loss, as in the first version of data2vec, is not meaningful.
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
        # each process computes the same whole batch, because pictures need all of its targets
        experiment = state.experiment
        source = self.source or experiment.source
        _require_something_to_show(source)
        batch = first_batch(experiment, self.source, self.pool)
        views = shown_views(batch, source, experiment.of_view(0)[0])
        whole = shown_whole(batch, source, experiment.of_view(0)[0], self.samples)
        found = fillings(state, batch, len(whole))
        images = dict(self._of_masks(batch, views, found)) | dict(self._of_whole_samples(state, whole))
        files = {f"{name}.png": png(image) for name, image in images.items() if image is not None}
        texts = self._texts(state, batch, views[0], found)
        files |= {f"{name}.txt": f"{text}\n".encode() for name, text in texts.items()}
        for number, one in enumerate(whole, 1):
            if (sound := source.audio(one.content)) is not None:
                files[f"sound-{number}.wav"] = wav(*sound)
        return Report(metrics={}, files=files)

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
        if drawn or not whole[0].is_grid:  # the matrices of a sequence need no image
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
