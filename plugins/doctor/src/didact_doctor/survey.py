"""The samples and batches of a run, estimated from reading a few samples."""

from __future__ import annotations

import attrs
import numpy as np

from didact import DidactError, Experiment, Layout, Samples
from didact.batching import BatchPlan
from didact.preflight import Finding
from didact.randomness import generator
from didact_doctor.findings import finding_of

SPECIMENS = 9  # number of samples to read, from the shortest to the longest
STEPS_SAMPLED = 200  # largest number of steps of the first epoch to plan


@attrs.frozen(kw_only=True, eq=False)
class Specimens:
    """A few samples, from the shortest to the longest, as training processes them.

    Attributes:
        lengths: (L,) the samples' lengths, ascending, in the source's unit.
        layouts: the layouts of each sample's views.
        errors: findings about samples that cannot be read or laid out.
    """

    lengths: np.ndarray
    layouts: tuple[tuple[Layout, ...], ...]
    errors: tuple[Finding, ...]

    @classmethod
    def read(cls, experiment: Experiment, samples: Samples) -> Specimens:
        """Reads a few samples, crops each as in a batch of such samples, and computes its layout."""
        order = np.argsort(samples.lengths, kind="stable")
        chosen = order[np.linspace(0, len(order) - 1, min(SPECIMENS, len(order))).round().astype(int)]
        _, first = np.unique(samples.lengths[chosen], return_index=True)
        lengths, layouts, errors = [], [], []
        for index in chosen[first]:
            length = float(samples.lengths[index])
            cut = length if experiment.source.crops else None
            try:
                views = samples.views(
                    int(index), length=cut, generator=generator(experiment.training.seed, "doctor", int(index))
                )
                layouts.append(
                    tuple(experiment.of_view(number)[0].layout(tuple(view.shape)) for number, view in enumerate(views))
                )
                lengths.append(length)
            except DidactError as error:
                named = error if samples.name(int(index)) in error.where else error.at(samples.name(int(index)))
                errors.append(finding_of(named))
        return cls(lengths=np.array(lengths), layouts=tuple(layouts), errors=tuple(errors))

    @property
    def distinct(self) -> tuple[Layout, ...]:
        """The distinct layouts, ordered by number of positions."""
        return tuple(sorted({layout for views in self.layouts for layout in views}, key=lambda one: one.positions))

    def positions_at(self, lengths: np.ndarray) -> np.ndarray:
        """Estimates the positions of samples of given lengths (N,): (N, views), linear between specimens."""
        known = np.array([[layout.positions for layout in views] for views in self.layouts])  # (L, views)
        return np.stack([np.interp(lengths, self.lengths, column) for column in known.T], axis=-1)


@attrs.frozen(kw_only=True, eq=False)
class Batches:
    """Properties of steps in the first epoch; evenly spaced steps if the epoch has many.

    Attributes:
        samples: (steps,) the number of samples in each step.
        lengths: (steps,) the total length, in the source's unit, after cropping.
        positions: (steps,) the number of positions, without padding.
        waste: (steps,) the share of padding, or the share that is cut away if the source crops.
    """

    samples: np.ndarray
    lengths: np.ndarray
    positions: np.ndarray
    waste: np.ndarray

    @classmethod
    def of_first_epoch(
        cls, experiment: Experiment, plan: BatchPlan, lengths: np.ndarray, specimens: Specimens
    ) -> Batches:
        """Plans the batches without reading any sample; ``lengths`` (N,) are those of all samples."""
        epoch = max(1, round(steps_per_epoch(plan)))
        steps = np.unique(np.linspace(0, epoch - 1, min(STEPS_SAMPLED, epoch)).astype(int))
        rows = []
        for step in steps:
            own = lengths[plan.batch(int(step)).samples]
            held = np.full_like(own, own.min()) if experiment.source.crops else own
            whole = own.sum() if experiment.source.crops else len(own) * own.max()
            rows.append((len(own), held.sum(), specimens.positions_at(held).sum(), 1 - held.sum() / whole))
        return cls(**dict(zip(("samples", "lengths", "positions", "waste"), np.array(rows).T, strict=True)))


def steps_per_epoch(plan: BatchPlan) -> float:
    """The number of steps that use every sample once."""
    return plan.count / plan.size.amount if plan.size.unit == "samples" else float(plan.batches_per_epoch)
