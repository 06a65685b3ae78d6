"""Builds an experiment's network and learner, and checks from what the parts declare that they fit each other.

The parts are built from upstream to downstream. Target builders and objectives check each other in their ``build``: a
target builder declares the kind, the level and the width of its targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from didact.contracts.network import Backbone, FeatureEncoder, Masker, Network
from didact.errors import SpecError, did_you_mean, of_field
from didact.experiment import Experiment
from didact.learner import Learner, differences, named_tensors
from didact.optimization import freeze
from didact.randomness import seeded
from didact.tensors import Corruption, Field, Signal

WORDS = {Corruption.HIDE: "hides", Corruption.REPLACE: "replaces", Corruption.DROP: "drops"}


def build_network(experiment: Experiment) -> Network:
    """Builds the experiment's network at its random initialisation, which depends only on the seed.

    Each part is initialised with a separate seed, so replacing one part does not change the others.

    Raises:
        SpecError: parts do not fit each other.
    """
    _require_fit(experiment)
    signals = experiment.source.signals()
    others = [_network_of(experiment, view, signal=signals[view]) for view in range(1, len(signals))]
    return _network_of(experiment, 0, signal=signals[0], others=others)


def build_learner(experiment: Experiment, pretrained: Network | None = None) -> Learner:
    """Builds the experiment's learner.

    Args:
        experiment: the experiment that defines the parts.
        pretrained: a network whose weights are copied before other parts, such as a teacher, are built. None keeps the
            random initialisation and ignores ``experiment.weights``, for learners that are restored from a checkpoint
            or used only for their shapes. `didact.record.pretrained` finds the weights that an experiment names.

    Raises:
        SpecError: parts do not fit each other, or the pretrained weights do not fit the network; names the field.
    """
    seed = experiment.training.seed
    network = build_network(experiment)
    if pretrained is not None:
        with of_field("weights"):
            _take_over(pretrained, network)
    with of_field("targets"), seeded(seed, "initialise", "targets"):
        targets = experiment.targets.build(network)
    with of_field("objective"), seeded(seed, "initialise", "objective"):
        objective = experiment.objective.build(network, targets)
    with of_field("training"):
        return freeze(Learner(network, targets, objective, experiment.source), experiment.training)


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
            has = f"the samples of {source} have it with {_described(found[name])}"
            what = f"{builder} expects the field {name!r} with {_described(wanted)}, and {has}"
            hint = "describe the field in the target builder as the samples have it"
            raise SpecError(what, where="targets", hint=hint)


def _network_of(experiment: Experiment, view: int, *, signal: Signal, others: Sequence[Network] = ()) -> Network:
    """Builds the network of one view."""
    seed = experiment.training.seed
    encoder_spec, masker, backbone_spec = experiment.of_view(view)
    number = f".{view}" if isinstance(experiment.encoder, tuple) else ""
    axes = tuple(axis for axis in signal.axes if axis is not None)
    with of_field(f"encoder{number}"), seeded(seed, "initialise", f"encoder{number}"):
        encoder = encoder_spec.build(signal)
        layout = encoder_spec.layout(axes) if len(axes) == len(signal.axes) else None
    with of_field(f"backbone{number}"), seeded(seed, "initialise", f"backbone{number}"):
        backbone = backbone_spec.build(encoder_spec.width, layout)
    return Network(encoder, backbone, signal, layout, None if masker is None else masker.masking, others)


def _take_over(pretrained: Network, network: Network) -> None:
    """Copies the weights of one network into another; all tensors must agree in name and shape.

    Raises:
        SpecError: names or shapes differ; see `differences`.
    """
    for there, here in zip(pretrained.all(), network.all(), strict=False):
        if there.signal.coding != here.signal.coding:
            what = f"the weights were trained on {there.signal.coding}, and the source gives {here.signal.coding}"
            raise SpecError(what, where="run", hint="use the source's settings from the other run's experiment.json")
    shapes = ({name: tuple(tensor.shape) for name, tensor in named_tensors(one)} for one in (pretrained, network))
    if different := differences(*shapes):
        hint = "use the run's encoder and backbone (experiment.json), and samples of the size that a tensor depends on"
        raise SpecError(f"the weights are those of another network: {different}", where="run", hint=hint)
    network.load_state_dict(pretrained.state_dict())


def _require_fit(experiment: Experiment) -> None:
    """Raises a `SpecError` that names both parts if two parts of an experiment do not fit each other."""
    _require_one_part_for_each_signal(experiment)
    for view, signal in enumerate(experiment.source.signals()):
        encoder, masker, backbone = experiment.of_view(view)
        if masker is not None:
            _require_corruptions(masker, encoder, backbone)
        if None in signal.axes and not experiment.source.crops and not backbone.supports_padding:
            pads = f"{_name(experiment.source)} gives samples of different lengths, which are padded to the longest"
            what = f"{pads}, and {_name(backbone)} does not support padding"
            hint = "use samples of one size, or a backbone that supports padding, such as a Transformer"
            raise SpecError(what, where="backbone", hint=hint)
    maskers = experiment.masker if isinstance(experiment.masker, tuple) else (experiment.masker,)
    if experiment.objective.requires_masks and not any(maskers):
        what = f"{_name(experiment.objective)} predicts masked positions, and the experiment has no masker"
        raise SpecError(what, where="masker", hint="give the experiment a masker, or another objective")


def _require_one_part_for_each_signal(experiment: Experiment) -> None:
    signals = len(experiment.source.signals())
    if signals > 1 and not experiment.targets.supports_several_signals:
        source, targets = _name(experiment.source), _name(experiment.targets)
        what = f"the views of {source} have a signal each, which {targets} does not support"
        hint = "use targets that compare the views, such as didact_views.StudentProjections"
        raise SpecError(what, where="targets", hint=hint)
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
        what = f"{_name(masker)} {words} positions, which {_name(encoder)} does not support"
        hint = f"{_name(encoder)} supports {supported or 'no masking'} as it is set; use another masker or encoder"
        raise SpecError(what, where="masker", hint=hint)
    if Corruption.DROP in wanted and not backbone.supports_dropping:
        what = f"{_name(masker)} drops positions, and {_name(backbone)} requires all positions"
        hint = "use a masker that hides, or a backbone that supports dropped positions, such as a Transformer"
        raise SpecError(what, where="masker", hint=hint)


def _described(field: Field) -> str:
    shape = " × ".join("?" if size is None else str(size) for size in field.axes) or "one value"
    return f"{shape} of {len(field.classes)} classes" if field.classes else f"{shape} without classes"


def _name(part: object) -> str:
    return type(part).__name__
