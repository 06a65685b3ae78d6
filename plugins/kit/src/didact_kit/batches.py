"""The rules about what target builders and objectives read of a batch: its keys, and fields that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import torch
from torch import Tensor

from didact.learner import Learner
from didact.tensors import Batch, StudentPass
from didact_kit.examples import Case
from didact_kit.rules import NotJudged, place_of
from didact_kit.watching import same


def check_key(case: Case) -> None:
    """Checks that what is drawn in training follows from the batch's keys, not from PyTorch's global generator.

    A run seeds the global generator differently on each process.
    """
    learner, batch = case.learner().train(), case.batch()
    passes = learner.passes(batch)
    one, again, other = (_drawn(case, learner, batch, passes, seed) for seed in (0, 0, 1))
    if any(not same(value, again[name]) for name, value in one.items()):
        raise NotJudged("two passes differ under one seed, too, which the rule 'steps' reports")
    for name, value in one.items():
        assert same(value, other[name]), f"{name} of one batch differs under two seeds of the global generator"


def _drawn(case: Case, learner: Learner, batch: Batch, passes: tuple[StudentPass, ...], seed: int) -> dict[str, Tensor]:
    """Returns targets, or terms for the same targets, under a seed of the global generator; tensors by name."""
    torch.manual_seed(0 if case.kind == "objective" else seed)
    targets = learner.targets(batch, passes, learner.network)
    if case.kind != "objective":
        return {f"target {number}": target.values.detach() for number, target in enumerate(targets)}
    torch.manual_seed(seed)
    loss = learner.objective(batch, passes, targets)
    return {f"the term {name}": term.detach() for name, term in loss.terms.items()}


def check_fields(case: Case) -> None:
    """Checks that no field of a batch is read that the target builder has not asked for."""
    learner, batch = case.learner(), case.batch()
    read = _Read(batch.fields)
    watched: Batch = attrs.evolve(batch, fields=read)
    passes = learner.passes(watched)
    try:
        targets = learner.targets(watched, passes, learner.network)
        if case.kind == "objective":
            read.names.clear()
            learner.objective.num_targets(watched)
            learner.objective(watched, passes, targets)
    except Exception as error:  # foreign code
        names = sorted(read.names - set(batch.fields))
        if not names:
            raise
        raise AssertionError(f"it reads the field {names[0]!r} at {place_of(error)}, and {_asked(batch)}") from error
    names = sorted(read.names - set(batch.fields))
    assert not names, f"it reads the field {names[0]!r}, and {_asked(batch)}"


def _asked(batch: Batch) -> str:
    return f"the target builder asks for {sorted(batch.fields) or 'none'}"


class _Read(Mapping[str, Tensor]):
    """The fields of a batch; remembers the names that are read."""

    def __init__(self, fields: Mapping[str, Tensor]) -> None:
        self._fields = fields
        self.names = set[str]()

    def __getitem__(self, name: str) -> Tensor:
        self.names.add(name)
        return self._fields[name]

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)
