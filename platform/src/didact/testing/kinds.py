"""One function for each kind of part: all rules of that kind, over one part that need not be registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from didact.contracts import (
    Backbone,
    Evaluation,
    FeatureEncoder,
    Masker,
    Medium,
    Objective,
    Observer,
    Source,
    TargetBuilder,
    Teacher,
)
from didact.spec import Spec
from didact.tensors import Layout
from didact.testing.examples import LAYOUTS, Case, Example
from didact.testing.rules import keep
from didact.testing.table import RULES, SPECS
from didact.testing.tiny import TinyEncoder
from didact.testing.tiny_sources import TinySource

OF_REGISTERED = ("data", "pickling", "processes")  # need a class that another process, or a run's record, can name


def check_encoder(encoder: FeatureEncoder, **beside: Any) -> None:
    """Encodes samples, alone and together, behind masks and whole; ``source`` gives them. See `Example`.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    _keep("feature-encoder", encoder, beside)


def check_masker(masker: Masker, layouts: Sequence[Layout] = LAYOUTS, **beside: Any) -> None:
    """Draws masks over several layouts.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    _keep("masker", masker, {"layouts": layouts, **beside})


def check_backbone(backbone: Backbone, width: int = 8, layout: Layout | None = None, extra: int = 0) -> None:
    """Contextualises sequences of a width, or grids, after so many class tokens: whole, padded, and with some dropped.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    shape = layout.shape if layout is not None else (12,)
    height, length = (None, *shape) if len(shape) == 1 else shape
    source = TinySource(length=max(4, length), height=height)
    _keep("backbone", backbone, {"encoder": TinyEncoder(width=width, class_token=bool(extra)), "source": source})


def check_target_builder(builder: TargetBuilder, **beside: Any) -> None:
    """Builds targets of batches; the network is that of ``encoder`` and ``backbone`` over ``source``. See `Example`.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    _keep("target-builder", builder, beside)


def check_teacher(teacher: Teacher, **beside: Any) -> None:
    """Builds a teacher beside a network, lets it see batches, and lets the network move away. See `Example`.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    _keep("teacher", teacher, beside)


def check_objective(objective: Objective, targets: TargetBuilder, **beside: Any) -> None:
    """Takes the loss of batches, and of their parts. See `Example`.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    _keep("objective", objective, {"targets": targets, **beside})


def check_source(source: Source, **beside: Any) -> None:
    """Opens a source, whose store must be there, and looks at some samples.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    _keep("source", source, {"source": source, **beside})


def check_evaluation(evaluation: Evaluation, **beside: Any) -> None:
    """Judges untrained networks; its own sources must be there. See `Example`.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    _keep("evaluation", evaluation, beside)


def check_observer(observer: Observer, **beside: Any) -> None:
    """Lets an observer watch a run of two steps.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    _keep("observer", observer, beside)


def check_medium(
    medium: Medium,
    good: Mapping[str, bytes],
    bad: Mapping[str, bytes],
    options: Mapping[str, str] | None = None,
) -> None:
    """Takes files apart: ``good`` ones, and ``bad`` ones that must be refused, with the command line's options.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    _keep("medium", medium, {"good": good, "bad": bad, "options": options or {}})


def check_command(command: click.Command) -> None:
    """Looks at a command's help.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    _keep("command", command, {})


def check_spec(spec: Spec) -> None:
    """Checks one spec, of any kind, as plain data and as documentation.

    Raises:
        BrokenRule: says which rule, what was seen, and how to mend it.
    """
    _keep("part", spec, {})


def _keep(kind: str, spec: Any, beside: Mapping[str, Any]) -> None:
    """All rules of a kind; where the spec, or one beside it, is not registered, those that need no name."""
    from didact.plugins import registry

    case = Case(Example(spec=spec, **beside), kind)
    rules = RULES
    specs = [part for part in (spec, *beside.values()) if isinstance(part, Spec)]
    if kind in SPECS and any(registry().name_of(type(part)) is None for part in specs):
        rules = tuple(rule for rule in RULES if rule.name not in OF_REGISTERED)
    keep(case, rules)
