"""Zero-shot classification: images are assigned to the class whose captions are nearest (CLIP)."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from didact import DataError, Evaluation, Experiment, FeatureEncoder, Network, Report, RunState, SpecError, collate
from didact.machine.devices import autocast
from didact.randomness import generator
from didact.tensors import move
from didact_views.captions import CaptionedImages, CaptionedSamples
from didact_views.prediction import unit

PER_BATCH = 64  # images


@attrs.frozen(kw_only=True)
class ZeroShot(Evaluation):
    """The accuracy of assigning images to the class with the nearest captions, without a classifier.

    Radford et al. 2021, section 3.1. A class is the mean of the unit vectors of its captions. ``accuracy`` is in
    percent. After the last step, ``accuracy_random`` is that of the network at its random initialisation.

    Attributes:
        test: labelled images that were not trained on, with captions of nothing but ``{label}``.
        limit: largest number of images, drawn at random but always the same; None takes all.
    """

    test: CaptionedImages
    limit: int | None = None

    def validate(self) -> None:
        self.require(self.limit is None or self.limit >= 1, "limit", "at least 1, or None")

    def prepare(self, experiment: Experiment) -> None:
        if experiment.source.signals() != self.test.signals():
            raise SpecError(
                "the signals of the test images and captions differ from the experiment's",
                where="test",
                hint="use the experiment's source with another store: source.evolve(**{'images.store': …})",
            )
        _labelled(self.test.open(), self.limit)
        _class_captions(self.test, "")

    def evaluate(self, state: RunState) -> Report:
        samples = self.test.open()
        indices, labels = _labelled(samples, self.limit)
        networks = {"": state.student()} | ({"_random": state.untrained()} if state.finished else {})
        shares = state.world.all_gather(
            {name: self._right(network, samples, (indices, labels), state) for name, network in networks.items()}
        )
        return Report(
            metrics={f"accuracy{name}": 100 * sum(share[name] for share in shares) / len(indices) for name in networks}
        )

    def _right(
        self, network: Network, samples: CaptionedSamples, images: tuple[Tensor, Tensor], state: RunState
    ) -> int:
        """Counts the images of this process's share that are assigned to their class."""
        classes = torch.stack(
            [unit(_directions(network, 1, self._tokens(name), state).mean(0)[None])[0] for name in samples.classes]
        )  # (C, P)
        right = 0
        for first in range(state.world.rank * PER_BATCH, len(images[0]), state.world.size * PER_BATCH):
            chosen, labels = (of[first : first + PER_BATCH] for of in images)
            found = _directions(network, 0, [samples.content(index) for index in chosen.tolist()], state)  # (B, P)
            right += int(((found @ classes.T).argmax(1).cpu() == labels).sum())
        return right

    def _tokens(self, name: str) -> list[Tensor]:
        return [self.test.tokens(caption) for caption in _class_captions(self.test, name)]


@torch.no_grad()
def _directions(network: Network, view: int, contents: list[Tensor], state: RunState) -> Tensor:
    """Computes the projections of contents (*axes) of view number ``view`` as unit vectors (B, P)."""
    encoder: FeatureEncoder = state.experiment.of_view(view)[0]
    device, own = state.device, network.of(view).eval()
    with autocast(device, state.precision):
        projections = own.contextualize(own.encoder.embed(move(collate(contents, encoder), device)), None).pooled
    assert projections is not None, "the objective compares projections"
    return unit(projections)


def _class_captions(source: CaptionedImages, name: str) -> list[str]:
    """Returns the captions of the class ``name``.

    Raises:
        SpecError: a caption needs more than the name of the class.
    """
    try:
        return [caption.format_map({"label": name}) for caption in source.captions]
    except KeyError as error:
        raise SpecError(
            f"a caption needs the field {error}, and a class has a name alone",
            where="test.captions",
            hint='use captions of {label} alone for the evaluation, such as ("a photo of a {label}",)',
        ) from None


def _labelled(samples: CaptionedSamples, limit: int | None) -> tuple[Tensor, Tensor]:
    """Returns the indices (N,) int64 of the labelled images, and their classes (N,) int64.

    Raises:
        DataError: no image has a label.
    """
    known = torch.tensor([] if samples.labels is None else samples.labels, dtype=torch.int64)
    indices = (known >= 0).nonzero()[:, 0]
    if not len(indices):
        raise DataError(
            f"none of the {len(samples.lengths)} images has a label",
            where="test",
            hint="ingest them with labels (`didact ingest --help`)",
        )
    # always seed 0, not the run's, so that two runs are evaluated on the same images
    drawn = torch.randperm(len(indices), generator=generator(0, "zero-shot"))[:limit]
    indices = indices[drawn.sort().values]
    return indices, known[indices]
