"""The rules about what target builders and objectives read of a batch: its keys, and only fields that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import torch
from torch import Tensor

from didact.tensors import Batch
from didact_kit.examples import Case
from didact_kit.rules import place_of
from didact_kit.watching import same


def check_key(case: Case) -> None:
    """Checks that what is drawn in training follows from the batch's keys, not from PyTorch's global generator.

    A run seeds the global generator differently on each process.
    """
    learner, batch = case.learner().train(), case.batch()
    passes = learner.passes(batch)
    results: list[dict[str, Tensor]] = []
    for seed in range(2):
        torch.manual_seed(seed)
        if case.kind == "objective" and results:
            torch.manual_seed(0)  # the targets are those of the first pass, whatever they draw
        targets = learner.targets(batch, passes, learner.network)
        found = {f"target {number}": target.values.detach() for number, target in enumerate(targets)}
        if case.kind == "objective":
            torch.manual_seed(seed)
            loss = learner.objective(batch, passes, targets)
            found = {f"the term {name}": term.detach() for name, term in loss.terms.items()}
        results.append(found)
    for name, value in results[0].items():
        assert same(value, results[1][name]), f"{name} of one batch differs under two seeds of the global generator"


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
