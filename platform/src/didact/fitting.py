"""Checks that the parts of an experiment fit each other, from what the parts declare.

Target builders and objectives check each other in their ``build``: a target builder declares the kind, the level and
the width of its targets.
"""

from __future__ import annotations

from collections.abc import Mapping

from didact.contracts.network import Backbone, FeatureEncoder, Masker
from didact.errors import SpecError, did_you_mean
from didact.experiment import Experiment
from didact.tensors import Corruption, Field

WORDS = {Corruption.HIDE: "hides", Corruption.REPLACE: "replaces", Corruption.DROP: "drops"}


def require_fit(experiment: Experiment) -> None:
    """Raises a `SpecError` that names both parts if two parts of an experiment do not fit each other."""
    _require_one_part_for_each_signal(experiment)
    for view, signal in enumerate(experiment.source.signals()):
        encoder, masker, backbone = experiment.of_view(view)
        if masker is not None:
            _require_corruptions(masker, encoder, backbone)
        if None in signal.axes and not experiment.source.crops and not backbone.supports_padding:
            raise SpecError(
                f"{_name(experiment.source)} gives samples of different lengths, which are padded to the longest, "
                f"and {_name(backbone)} does not support padding",
                where="backbone",
                hint="use samples of one size, or a backbone that supports padding, such as a Transformer",
            )
    maskers = experiment.masker if isinstance(experiment.masker, tuple) else (experiment.masker,)
    if experiment.objective.requires_masks and not any(maskers):
        raise SpecError(
            f"{_name(experiment.objective)} predicts masked positions, and the experiment has no masker",
            where="masker",
            hint="give the experiment a masker, or another objective",
        )


def require_fields(experiment: Experiment, found: Mapping[str, Field]) -> None:
    """Raises a `SpecError` unless the source's samples have the fields that the target builder asks for.

    Args:
        experiment: the experiment.
        found: the descriptions of the fields that the source's samples have.
    """
    source, builder = _name(experiment.source), _name(experiment.targets)
    for name, wanted in experiment.targets.fields().items():
        if name not in found:
            what = f"{builder} is built from the field {name!r}, which the samples of {source} do not have"
            hint = did_you_mean(name, found) if found else "ingest the samples with labels, or use other targets"
            raise SpecError(what, where="targets", hint=hint)
        if wanted != found[name]:
            raise SpecError(
                f"{builder} expects the field {name!r} with {_described(wanted)}, and the samples of {source} have it "
                f"with {_described(found[name])}",
                where="targets",
                hint="describe the field in the target builder as the samples have it",
            )


def _require_one_part_for_each_signal(experiment: Experiment) -> None:
    signals = len(experiment.source.signals())
    for field in ("encoder", "backbone", "masker"):
        part = getattr(experiment, field)
        shared = not isinstance(part, tuple)
        if signals == 1 and not shared and field != "masker":
            what = f"the views of {_name(experiment.source)} have one signal, and there are {len(part)} {field}s"
            raise SpecError(what, where=field, hint=f"give one {field}")
        if signals > 1 and part is not None and (shared or len(part) != signals):
            what = f"{_name(experiment.source)} gives {signals} views with a signal each, and there is one {field}"
            what = what if shared else what.replace("is one", f"are {len(part)}") + "s"
            raise SpecError(what, where=field, hint=f"give a tuple of {signals}, one for each view")


def _require_corruptions(masker: Masker, encoder: FeatureEncoder, backbone: Backbone) -> None:
    wanted = masker.masking.corruptions - {Corruption.NONE}
    if missing := sorted(wanted - encoder.corruptions):
        words = " and ".join(WORDS[each] for each in missing)
        supported = ", ".join(each.name.lower() for each in sorted(encoder.corruptions - {Corruption.NONE}))
        raise SpecError(
            f"{_name(masker)} {words} positions, which {_name(encoder)} does not support",
            where="masker",
            hint=f"{_name(encoder)} supports {supported or 'no masking'} as it is set; use another masker or encoder",
        )
    if Corruption.DROP in wanted and not backbone.supports_dropping:
        raise SpecError(
            f"{_name(masker)} drops positions, and {_name(backbone)} requires all positions",
            where="masker",
            hint="use a masker that hides, or a backbone that supports dropped positions, such as a Transformer",
        )


def _described(field: Field) -> str:
    shape = " × ".join("?" if size is None else str(size) for size in field.axes) or "one value"
    return f"{shape} of {len(field.classes)} classes" if field.classes else f"{shape} without classes"


def _name(part: object) -> str:
    return type(part).__name__
