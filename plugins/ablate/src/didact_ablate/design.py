"""The contract of studies, and the design of an ablation: base, varied fields, seeds, and the deciding metric."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from didact import Experiment, Spec, SpecError
from didact.errors import did_you_mean
from didact.plugins import registry
from didact_ablate.identity import identity
from didact_ablate.naming import folder_name, short_names, value_words

LOGGED = ("train", "collapse", "teacher")  # groups of logged training metrics, which may decide too
BASE = "base"


@attrs.frozen(kw_only=True)
class Study(Spec, abc.ABC):
    """Several experiments that together answer one question; ``didact run FILE`` runs a study.

    Attributes:
        name: the study's name; all of its runs and results are stored in a folder of this name.
    """

    name: str

    @abc.abstractmethod
    def experiments(self) -> Mapping[str, Experiment]:
        """Returns the experiments by name; experiments that differ only in their seed are returned once."""

    @abc.abstractmethod
    def smoke(self, *, device: str) -> None:
        """Takes two steps of each experiment and keeps nothing; a `DidactError` names an experiment that fails."""

    @abc.abstractmethod
    def run(self, *, folder: Path, device: str, jobs: int, source_file: Path) -> bool:
        """Executes the missing runs and reports the result; a further call resumes. True: all runs are complete.

        Args:
            folder: the folder of the study; it may hold the results of an earlier call.
            device: the device of each run: ``auto``, ``cpu`` or ``cuda``.
            jobs: maximum number of parallel runs.
            source_file: the file that holds the study.

        Raises:
            DidactError: the study cannot be run. A single failing experiment is reported, and the others continue.
        """


@attrs.frozen(kw_only=True)
class Variant:
    """One row of the table.

    Attributes:
        name: a description of the variant's changes.
        changes: ``dotted field → value`` relative to the base; empty for a method, which is a separate experiment.
        experiment: the variant's whole experiment, with the base's seed.
        base: whether the other variants are compared with this one.
    """

    name: str
    changes: Mapping[str, Any]
    experiment: Experiment
    base: bool


@attrs.frozen(kw_only=True)
class Design(Study, abc.ABC):
    """The design of a study; `didact_ablate.ablation.Ablation` also runs it.

    Attributes:
        base: the experiment that all variants are compared with; it is run as well.
        metric: the metric that decides: ``evaluation/metric`` after the last step, such as ``classes/linear``, or the
            last value of a logged training metric, such as ``collapse/target_std``.
        higher_is_better: whether a higher value of the metric is better.
        vary: ``dotted field → values``; each value of each field makes one variant, which is otherwise equal to the
            base. A value that the base already has makes no new variant.
        grid: ``dotted field → values``; each combination makes a variant. A grid of two fields is also drawn as a heat
            map.
        variants: ``name → {dotted field: value}``, for changes that belong together or replace whole components.
        methods: ``name → experiment``, for methods that differ in many fields. The author keeps equal what the
            comparison requires, such as data, size and compute. Each method needs the evaluation that the metric names.
        seeds: ``training.seed`` of the runs of each variant. With fewer seeds, only larger differences can be
            distinguished from chance: a difference must be 2.5 standard deviations of the differences with 3 seeds, and
            1.2 with 5.
        steps: the budget of each run in optimizer steps; None keeps the base's, and each method's own. Schedules over
            the whole run follow the budget; settings in steps, such as a warm-up, stay unchanged.
        also: further metrics, shown beside the deciding one and not tested.
        control: a metric of the same run to improve on, such as ``classes/linear_random``, which is
            the same probe of the untrained network. The table shows how far each variant is ahead of its control, and
            names the variants that are not ahead. None if there is no control.
        level: the accepted rate of false alarms over the whole table; intervals have coverage 1 - level.
    """

    base: Experiment
    metric: str
    higher_is_better: bool = True
    vary: Mapping[str, Sequence[Any]] = attrs.field(factory=dict)
    grid: Mapping[str, Sequence[Any]] = attrs.field(factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    methods: Mapping[str, Experiment] = attrs.field(factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int | None = None
    also: tuple[str, ...] = ()
    control: str | None = None
    level: float = 0.05

    def validate(self) -> None:
        fits = folder_name(self.name) == self.name and bool(self.name)
        self.require(fits, "name", "letters, digits, '-', '_' and '.'")
        self.require(len(self.seeds) >= 1, "seeds", "at least one")
        self.require(len(set(self.seeds)) == len(self.seeds), "seeds", "different")
        self.require(self.steps is None or self.steps >= 1, "steps", "at least 1, or None")
        self.require(0 < self.level < 1, "level", "between 0 and 1")
        for field in ("variants", "methods"):
            self.require(BASE not in getattr(self, field), field, f"called something else than {BASE!r}")
        for name in self.also:
            self._require_known("also", name, "the base", self.base)
        decisive = {"metric": self.metric, **({"control": self.control} if self.control is not None else {})}
        for field, name in decisive.items():
            for called, method in {"the base": self.base, **self.methods}.items():
                self._require_known(field, name, called, method)
        found = self.rows()
        if len(found) < 2:
            raise SpecError(
                "nothing is varied",
                where="vary",
                hint="name something in vary, grid, variants or methods that differs from the base",
            )

    def rows(self) -> list[Variant]:
        """Returns the variants in the order in which they are written; a base that is none of them comes first.

        Raises:
            SpecError: a field does not exist, a value does not fit its field, or two variants have the same name.
        """
        base = self._budgeted(self.base)
        rows: list[Variant] = []
        same = identity(registry().data_of(base))
        seen: dict[str, str] = {same: BASE}
        twins = []
        for where, name, changes, experiment in self._experiments(base):
            what = identity(registry().data_of(experiment))
            if what == same:
                twins.append(name)
            elif what not in seen:  # otherwise another entry already gave this experiment, as in grids
                if name in seen.values():
                    raise SpecError(f"two variants are called {name!r}", where=where, hint="give one another name")
                seen[what] = name
                rows.append(Variant(name=name, changes=changes, experiment=experiment, base=False))
        name = twins[0] if len(twins) == 1 else BASE
        return [Variant(name=name, changes={}, experiment=base, base=True), *rows]

    def _experiments(self, base: Experiment) -> Iterator[tuple[str, str, Mapping[str, Any], Experiment]]:
        """Yields each variant's source field in this spec, its name, its changes and its experiment."""
        for where, name, changes in self._described():
            try:
                yield where, name, changes, base.evolve(**changes)
            except SpecError as error:
                raise SpecError(error.what, where=f"{where}, {error.where}", hint=error.hint) from None
        for name, method in self.methods.items():
            yield "methods", name, {}, self._budgeted(method)

    def _budgeted(self, experiment: Experiment) -> Experiment:
        return experiment if self.steps is None else experiment.evolve(**{"training.steps": self.steps})

    def experiments(self) -> Mapping[str, Experiment]:
        return {row.name: row.experiment for row in self.rows()}

    def member(self, variant: Variant, seed: int) -> Experiment:
        """Returns a variant's experiment with a seed, labelled with the study, the variant and the seed."""
        labels = {**self.base.labels, "study": self.name, "variant": variant.name, "seed": seed}
        training = attrs.evolve(variant.experiment.training, seed=seed)
        return attrs.evolve(variant.experiment, name=self.name, training=training, labels=labels)

    def heat_map(self) -> tuple[str, str] | None:
        """The two fields of the heat map; None unless the grid has two fields."""
        return tuple(self.grid) if len(self.grid) == 2 else None  # type: ignore[return-value]

    def _described(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Yields each variant's source field in this spec, its name and its changes."""
        short = short_names([*self.vary, *self.grid])
        for field, values in self.vary.items():
            self._refuse("vary", field)
            for value in values:
                yield f"vary, {field}", f"{short[field]}={value_words(value)}", {field: value}
        for field in self.grid:
            self._refuse("grid", field)
        for values in itertools.product(*self.grid.values()) if self.grid else ():
            combined = dict(zip(self.grid, values, strict=True))
            name = ", ".join(f"{short[field]}={value_words(value)}" for field, value in combined.items())
            yield "grid", name, combined
        for name, changes in self.variants.items():
            for field in changes:
                self._refuse(f"variants, {name}", field)
            yield f"variants, {name}", name, changes

    def _refuse(self, where: str, field: str) -> None:
        if field in ("training.seed", "name", "labels"):
            raise SpecError(
                f"{field} is not a choice to ablate",
                where=where,
                hint="the field `seeds` sets the seeds of each variant",
            )

    def _require_known(self, field: str, metric: str, called: str, experiment: Experiment) -> None:
        evaluation, slash, name = metric.partition("/")
        if not slash or not name or evaluation not in (*experiment.evaluations, *LOGGED):
            raise SpecError(
                f"{type(self).__name__}.{field} names the evaluation and its metric, got {metric!r}",
                where=field if experiment is self.base else f"methods, {called}",
                hint=f"for example classes/linear; the evaluations of {called}: "
                f"{did_you_mean(evaluation, experiment.evaluations)}",
            )


def member_folder(study: Path, variant: Variant, seed: int) -> Path:
    """Returns the default folder of a variant's run with a seed; another folder is used if it is taken."""
    return study / "runs" / f"{folder_name(variant.name)}-seed-{seed}"
