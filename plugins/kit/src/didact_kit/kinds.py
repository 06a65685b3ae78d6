"""One function for each kind of part: applies all rules of the kind to a part that need not be registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from didact.contracts.data import Source
from didact.contracts.network import Backbone, FeatureEncoder, Masker
from didact.contracts.optimizer import Optimizer
from didact.contracts.targets import Objective, TargetBuilder, Teacher
from didact.experiment import Evaluation, Observer
from didact.spec import Spec
from didact.tensors import Layout
from didact_kit.doubles import name_of
from didact_kit.examples import LAYOUTS, Case, Example
from didact_kit.rules import keep
from didact_kit.table import RULES, SPECS
from didact_kit.tiny import TinyEncoder
from didact_kit.tiny_sources import TinySource

OF_EXPERIMENTS = ("processes",)  # other processes must be able to import the classes of all parts of the experiment
OF_REGISTERED = ("data", "pickling", *OF_EXPERIMENTS)  # the class of the part needs a name


def check_encoder(encoder: FeatureEncoder, **beside: Any) -> None:
    """Checks an encoder: encodes samples alone and together, masked and whole; ``source`` gives samples, see `Example`.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("feature-encoder", encoder, beside)


def check_masker(masker: Masker, layouts: Sequence[Layout] = LAYOUTS, **beside: Any) -> None:
    """Checks a masker: draws masks over several layouts.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("masker", masker, {"layouts": layouts, **beside})


def check_backbone(
    backbone: Backbone, width: int = 8, layout: Layout | None = None, num_prefix_tokens: int = 0
) -> None:
    """Checks a backbone: computes sequences or grids, whole, padded and with dropped positions.

    Args:
        backbone: the backbone under test.
        width: D, the width of the vectors.
        layout: the layout of a sample; None uses a sequence of 12 positions.
        num_prefix_tokens: the number of prefix tokens; 1 puts a class token before the positions.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    shape = layout.shape if layout is not None else (12,)
    height, length = (None, *shape) if len(shape) == 1 else shape
    source = TinySource(length=max(4, length), height=height)
    encoder = TinyEncoder(width=width, class_token=bool(num_prefix_tokens))
    _keep("backbone", backbone, {"encoder": encoder, "source": source})


def check_target_builder(builder: TargetBuilder, **beside: Any) -> None:
    """Checks a target builder on batches; ``encoder`` and ``backbone`` over ``source`` form the network. See `Example`.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("target-builder", builder, beside)


def check_teacher(teacher: Teacher, **beside: Any) -> None:
    """Checks a teacher: builds it for a network, runs it on batches, and changes the network. See `Example`.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("teacher", teacher, beside)


def check_objective(objective: Objective, targets: TargetBuilder, **beside: Any) -> None:
    """Checks an objective: computes the loss of batches and of their parts. See `Example`.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("objective", objective, {"targets": targets, **beside})


def check_source(source: Source, **beside: Any) -> None:
    """Checks a source: opens it and reads samples. Its store must exist.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("source", source, {"source": source, **beside})


def check_evaluation(evaluation: Evaluation, **beside: Any) -> None:
    """Checks an evaluation on untrained networks; the evaluation's own sources must exist. See `Example`.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("evaluation", evaluation, beside)


def check_observer(observer: Observer, **beside: Any) -> None:
    """Checks an observer: calls its hooks in a run of two steps.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("observer", observer, beside)


def check_optimizer(optimizer: Optimizer) -> None:
    """Checks an optimizer: takes steps on the parameters of a tiny learner.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("optimizer", optimizer, {})


def check_medium(
    medium: Any,
    good: Mapping[str, bytes],
    bad: Mapping[str, bytes],
    options: Mapping[str, str] | None = None,
) -> None:
    """Checks a medium: splits files into records.

    Args:
        medium: a `didact_stores.Medium`.
        good: ``name → bytes`` of files that the medium can read.
        bad: ``name → bytes`` of files that the medium must refuse.
        options: the options of the command line.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("medium", medium, {"good": good, "bad": bad, "options": options or {}})


def check_command(command: click.Command) -> None:
    """Checks a command's help.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("command", command, {})


def check_spec(spec: Spec) -> None:
    """Checks a spec of any kind: its plain data and its documentation.

    Raises:
        BrokenRule: the rule, what was seen, and a hint.
    """
    _keep("part", spec, {})


def _keep(kind: str, spec: Any, beside: Mapping[str, Any]) -> None:
    """Applies all rules of a kind, except rules that need a class name if the class has none."""
    example = Example(spec=spec, **beside)
    around = (example.source, example.encoder, example.masker, example.backbone, example.targets, example.objective)
    unnamed: tuple[str, ...] = ()
    if kind in SPECS and name_of(type(spec)) is None:
        unnamed = OF_REGISTERED
    elif any(part is not None and name_of(type(part)) is None for part in around):
        unnamed = OF_EXPERIMENTS
    keep(Case(example, kind), tuple(rule for rule in RULES if rule.name not in unnamed))
