"""The contracts of learning: target builders, teachers and objectives.

See `didact.contracts.network` for what a spec and a module are. `didact.learner` is where all parts meet.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs
from torch import Tensor, nn

from didact.contracts.network import Network
from didact.spec import Spec
from didact.tensors import BackboneOutput, Batch, HiddenState, Loss, StudentPass, Target


@attrs.frozen(kw_only=True)
class TargetBuilder(Spec, abc.ABC):
    """Makes the targets, with a teacher or without."""

    @property
    def supports_accumulation(self) -> bool:
        """Whether a sample's targets are independent of the other samples; see `Backbone.supports_accumulation`."""
        return True

    @abc.abstractmethod
    def build(self, network: Network) -> TargetBuilderModule:
        """The module, for the student ``network`` as it is before the first step.

        Raises:
            SpecError: the backbone lacks the features that the targets are built from.
        """


class TargetBuilderModule(nn.Module, abc.ABC):
    """A target builder's weights and its teacher, if it has one.

    Attributes:
        width: D of continuous targets, or the number of classes of discrete ones.
        kind: what a target holds: ``vectors`` of ``width`` floats, or ``ids`` of one of ``width`` classes. Objectives
            read it in ``build``, and refuse the kinds that they cannot predict.
        level: whether there is a target for each ``position`` or for each ``sample``; see `Target`.
    """

    width: int
    kind: Literal["vectors", "ids"] = "vectors"
    level: Literal["position", "sample"] = "position"

    @abc.abstractmethod
    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """The targets of a batch.

        Args:
            passes: the student's passes over the views.
            network: the student, for targets that share its weights.

        Returns:
            one target for each view and each thing that it must predict; gradients flow only where the method needs it.
        """

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float | Tensor]:
        """Called once after every optimizer step, never between accumulated parts; a teacher follows the student here.

        Args:
            network: the student after the step.
            step: number of optimizer steps taken, from 1.
            steps: of the whole run, ``training.steps``, for schedules over all of it.

        Returns:
            scalars to log, such as the decay that was used; a tensor may still be on the device.
        """
        return {}

    def evaluated_network(self, network: Network) -> Network:
        """The teacher as a network for evaluations; the student where there is no teacher."""
        return network


@attrs.frozen(kw_only=True)
class Teacher(Spec, abc.ABC):
    """The network that computes targets: a moving average of the student, a frozen model, or the student itself."""

    @abc.abstractmethod
    def build(self, network: Network) -> TeacherModule:
        """The module, equal to the student ``network`` where the teacher starts as its copy."""


class TeacherModule(nn.Module, abc.ABC):
    """A teacher's weights. It is always in evaluation mode, and its outputs carry no gradient."""

    @abc.abstractmethod
    def forward(
        self, student: StudentPass, network: Network, hidden_states: Sequence[HiddenState] = ()
    ) -> BackboneOutput:
        """The teacher's pass over the whole, unmasked view: output (B, V, D), hidden states (B, V, D) each.

        Args:
            student: the view, and the student's tokens of it, for teachers that share the encoder.
            network: the student, likewise.
            hidden_states: the inner features to return as well.
        """

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        """Follows the student; see `TargetBuilderModule.after_step`."""
        return {}

    def evaluated_network(self, network: Network) -> Network:
        """The teacher as a network for evaluations; the student where it has no weights of its own."""
        return network


@attrs.frozen(kw_only=True)
class Objective(Spec, abc.ABC):
    """Predicts the targets from the student's outputs, and measures how well."""

    @property
    def supports_accumulation(self) -> bool:
        """Whether the loss of a batch is a sum over its parts, so that they may be computed one after the other.

        Not so for functions of the whole batch, such as a covariance. Over several processes such a function takes its
        sums with `didact.machine.distributed.connected`.
        """
        return True

    @abc.abstractmethod
    def build(self, network: Network, targets: TargetBuilderModule) -> ObjectiveModule:
        """The module, with the heads that predict.

        Raises:
            SpecError: the heads do not fit the student's outputs or the targets.
        """


class ObjectiveModule(nn.Module, abc.ABC):
    """An objective's heads."""

    @abc.abstractmethod
    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        """The number of targets that each term of the loss sums over; read from the masks, without the device.

        They are added up over the whole global batch before any gradient is computed.
        """

    @abc.abstractmethod
    def forward(self, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """The loss, each term a sum over the targets that `num_targets` counts."""
