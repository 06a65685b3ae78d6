"""The contracts of learning: target builders, teachers and objectives.

`didact.contracts.network` explains specs and modules. `didact.learner` combines all parts.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs
from torch import Tensor, nn

from didact.contracts.network import Network
from didact.spec import Spec
from didact.tensors import BackboneOutput, Batch, Field, HiddenState, Level, Loss, StudentPass, Target


@attrs.frozen(kw_only=True)
class TargetBuilder(Spec, abc.ABC):
    """Builds the targets, with or without a teacher."""

    @property
    def supports_accumulation(self) -> bool:
        """Whether a sample's targets are independent of the other samples; see `Backbone.supports_accumulation`."""
        return True

    @property
    def supports_several_signals(self) -> bool:
        """Whether the views may have a signal each, such as an image and its caption; by default, they may not."""
        return False

    def fields(self) -> Mapping[str, Field]:
        """Returns the values beside the content, such as labels, that the targets are built from; by default, none.

        Only these values are loaded, into `Batch.fields`; their descriptions must equal those of the source.
        """
        return {}

    def student_views(self, views: int) -> Sequence[int]:
        """Returns the indices of the views that the student encodes, of ``views`` views; by default, all views.

        Other views have no mask, and only the target builder reads them.
        """
        return range(views)

    @abc.abstractmethod
    def build(self, network: Network) -> TargetBuilderModule:
        """Builds the module for the student ``network`` in its state before the first step.

        Raises:
            SpecError: the backbone lacks the features that the targets are built from.
        """


class TargetBuilderModule(nn.Module, abc.ABC):
    """A target builder's weights and its teacher, if it has one.

    Attributes:
        width: D of continuous targets, or the number of classes of discrete targets.
        kind: the kind of target: ``vectors`` of ``width`` floats, or ``ids`` of one of ``width`` classes. Objectives
            read the kind in ``build`` and reject kinds that they cannot predict.
        level: whether there is a target for each ``position``, for each ``sample``, or a ``sequence`` of ids for each
            sample; see `Target`.
    """

    width: int
    kind: Literal["vectors", "ids"] = "vectors"
    level: Level = "position"

    @abc.abstractmethod
    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """Computes the targets of a batch.

        Args:
            batch: the batch, or a part of a global batch, with the fields that the target builder asks for.
            passes: the student's passes over the views, one for each view.
            network: the student, for targets that share its weights.

        Returns:
            One target for each view and each value to predict; gradients flow only if the method needs them.
        """

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float | Tensor]:
        """Updates the teacher; called once after every optimizer step, never between accumulated parts.

        Args:
            network: the student after the step.
            step: number of optimizer steps taken, from 1.
            steps: number of steps of the whole run, ``training.steps``, for schedules.

        Returns:
            Scalars to log, such as the decay that was used; a tensor may still be on the device.
        """
        return {}

    def evaluated_network(self, network: Network) -> Network:
        """Returns the teacher as a network for evaluations; the student if there is no teacher."""
        return network


@attrs.frozen(kw_only=True)
class Teacher(Spec, abc.ABC):
    """The network that computes targets: a moving average of the student, a frozen model, or the student itself."""

    @abc.abstractmethod
    def build(self, network: Network) -> TeacherModule:
        """Builds the module, equal to the student ``network`` if the teacher starts as a copy of the student."""


class TeacherModule(nn.Module, abc.ABC):
    """A teacher's weights. A teacher is always in evaluation mode, and its outputs have no gradient."""

    @abc.abstractmethod
    def forward(
        self, student: StudentPass, network: Network, hidden_states: Sequence[HiddenState] = ()
    ) -> BackboneOutput:
        """Computes the teacher's pass over the whole, unmasked view: output (B, V, D), hidden states (B, V, D) each.

        Args:
            student: the view, and the student's tokens of the view for teachers that share the encoder. The tokens are
                missing for a view that the student does not encode.
            network: the student, for teachers that share the encoder.
            hidden_states: the inner features to return in addition.
        """

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        """Updates the teacher from the student; see `TargetBuilderModule.after_step`."""
        return {}

    def evaluated_network(self, network: Network) -> Network:
        """Returns the teacher as a network for evaluations; the student if the teacher has no weights of its own."""
        return network


@attrs.frozen(kw_only=True)
class Objective(Spec, abc.ABC):
    """Predicts the targets from the student's outputs and computes the loss."""

    @property
    def supports_accumulation(self) -> bool:
        """Whether the loss of a batch is a sum over its parts, so that the parts may be computed one after the other.

        False for functions of the whole batch, such as a covariance. Over several processes, such a function computes
        its sums with `didact.machine.distributed.connected`.
        """
        return True

    @property
    def requires_masks(self) -> bool:
        """Whether the objective predicts masked positions, so that the experiment must have a masker."""
        return False

    @abc.abstractmethod
    def build(self, network: Network, targets: TargetBuilderModule) -> ObjectiveModule:
        """Builds the module with its prediction heads.

        Raises:
            SpecError: the heads do not fit the student's outputs or the targets.
        """


class ObjectiveModule(nn.Module, abc.ABC):
    """An objective's heads, and its state, such as a queue in buffers."""

    @abc.abstractmethod
    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        """Returns the number of targets that each loss term sums over; computed from the masks, without the device.

        The numbers are added up over the whole global batch before any gradient is computed.
        """

    @abc.abstractmethod
    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Computes the loss; each term is a sum over the targets that `num_targets` counts."""

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float | Tensor]:
        """Updates the state of the objective; returns scalars to log. See `TargetBuilderModule.after_step`."""
        return {}
