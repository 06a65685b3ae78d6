"""Finds a part that holds another one, such as an objective for a head, so that the other one is judged in use."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from didact.errors import DidactError
from didact.plugins import Plugin, Registry
from didact.spec import Spec, field_types
from didact_kit.contracts import components_of, kind_of
from didact_kit.examples import FIELDS, Case, Example, Holding, holds

HOLDING = ("objective", "target-builder", "backbone", "feature-encoder", "source", "masker", "teacher")
HELD = ("part", "augmentation")  # kinds of components that have no rules of behaviour of their own
MOST_PARAMETERS = 1_000_000  # of a learner that is checked
DEEPEST = 2  # a recipe is held by an augmentation, and that by a source

ExamplesOf = Callable[[Plugin], Mapping[str, Sequence[Example]]]


def find_holder(example: Example, among: Registry, examples_of: ExamplesOf) -> Holding:
    """Finds a part that holds the part of an example, and builds a learner with both.

    The example itself may name it, among ``objective``, ``targets``, ``backbone``, ``encoder``, ``source`` and
    ``masker``. Otherwise the parts are tried that have a field for it, on their own examples.
    """
    refusals: list[str] = []
    for kind, candidate in _candidates(example, among, examples_of, DEEPEST):
        name = type(candidate.spec).__name__
        try:
            count = sum(one.numel() for one in Case(candidate, kind).learner().parameters())
        except DidactError as refusal:
            refusals.append(f"{name}: {refusal.what}")
            continue
        except Exception:  # foreign code; the rules report it
            count = 0
        if count > MOST_PARAMETERS:
            refusals.append(f"{name} has {count:,} parameters with it, which takes too long: give a smaller example")
            continue
        return Holding(kind=kind, example=candidate)
    if refusals:
        return Holding(reason=f"no part that holds it can be built: {refusals[0]}")
    return Holding(reason="no installed part has a field for it, and its example names none")


def _candidates(
    example: Example, among: Registry, examples_of: ExamplesOf, depth: int
) -> Iterator[tuple[str, Example]]:
    part = example.spec
    for kind, field in sorted(FIELDS.items(), key=lambda item: HOLDING.index(item[0])):
        holder = getattr(example, field)
        if holds(holder, part):
            yield kind, attrs.evolve(example, spec=holder)
    for plugin, short, cls, fields in _accepting(type(part), among):
        kind = kind_of(cls) or ""
        for given in examples_of(plugin).get(short, ()):
            for spec in _with(given.spec, fields, part):
                inside = attrs.evolve(given, spec=spec)
                if kind in HOLDING:
                    yield kind, inside
                elif depth > 1:
                    yield from _candidates(inside, among, examples_of, depth - 1)


def _accepting(cls: type[Spec], among: Registry) -> Iterator[tuple[Plugin, str, type[Spec], list[str]]]:
    """Yields the registered classes that have fields for a class, and these fields."""
    for plugin, short, holder in _all_components(among):
        fields = [name for name, hint in field_types(holder).items() if any(issubclass(cls, one) for one in _of(hint))]
        if fields and holder is not cls:
            yield plugin, short, holder, fields


def _all_components(among: Registry) -> list[tuple[Plugin, str, type[Spec]]]:
    found = [(plugin, *component) for plugin in among.plugins for component in components_of(plugin)]
    classes = [(plugin, short, cls) for plugin, short, cls in found if isinstance(cls, type) and issubclass(cls, Spec)]
    return sorted(classes, key=lambda item: HOLDING.index(kind) if (kind := kind_of(item[2])) in HOLDING else 99)


@functools.cache
def _of(hint: Any) -> tuple[type[Spec], ...]:
    """Returns the classes of specs that a field's type names, at any depth."""
    if isinstance(hint, type) and issubclass(hint, Spec):
        return () if hint is Spec else (hint,)
    return tuple(cls for argument in typing.get_args(hint) for cls in _of(argument))


def _with(spec: Spec, fields: Sequence[str], part: Spec) -> Iterator[Spec]:
    """Yields a spec with a part in one of its fields: as the value, or as the only item of a tuple."""
    for name in fields:
        for value in (part, (part,)):
            try:
                yield attrs.evolve(spec, **{name: value})
            except DidactError:
                continue
            break
