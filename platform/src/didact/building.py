"""Builds an experiment's network and learner; the parts are built from upstream to downstream."""

from __future__ import annotations

from collections.abc import Sequence

from didact.contracts.network import Network
from didact.errors import SpecError, of_field
from didact.experiment import Experiment
from didact.fitting import require_fit
from didact.learner import Learner, differences, named_tensors
from didact.optimization import freeze
from didact.randomness import seeded
from didact.tensors import Signal


def build_network(experiment: Experiment) -> Network:
    """Builds the experiment's network at its random initialisation, which depends only on the seed.

    Each part is initialised with a separate seed, so replacing one part does not change the others.

    Raises:
        SpecError: parts do not fit each other.
    """
    require_fit(experiment)
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
            raise SpecError(
                f"the weights were trained on {there.signal.coding}, and the source gives {here.signal.coding}",
                where="run",
                hint="use the source's settings from the other run's experiment.json",
            )
    shapes = ({name: tuple(tensor.shape) for name, tensor in named_tensors(one)} for one in (pretrained, network))
    if different := differences(*shapes):
        raise SpecError(
            f"the weights are those of another network: {different}",
            where="run",
            hint="use the encoder and backbone of the run's experiment.json, and samples of the same size where a "
            "tensor depends on it",
        )
    network.load_state_dict(pretrained.state_dict())
