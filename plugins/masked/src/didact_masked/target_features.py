"""Target features: fixed descriptions of each position, computed without the network that is trained."""

from __future__ import annotations

import abc

import attrs
from torch import Tensor, nn

from didact import Network, Spec, View


@attrs.frozen(kw_only=True)
class TargetFeature(Spec, abc.ABC):
    """A fixed feature of each position, from which targets are made."""

    @abc.abstractmethod
    def build(self, network: Network) -> TargetFeatureModule:
        """Builds the module for the samples that ``network`` reads.

        Raises:
            SpecError: the feature is not defined for such samples.
        """


class TargetFeatureModule(nn.Module, abc.ABC):
    """The module of a target feature. It is never trained.

    Attributes:
        width: F, the number of values for each position.
    """

    width: int

    @abc.abstractmethod
    def forward(self, view: View) -> Tensor:
        """Computes the feature of every position of a view: (B, T, F) float32, without gradient.

        A sample's feature must not depend on the other samples of the batch. At padding it must be finite; its value is
        not used.
        """
