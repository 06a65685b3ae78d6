"""Target features: numbers that describe each position without the network that is trained."""

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
        """The module, for the samples that ``network`` reads.

        Raises:
            SpecError: it is not defined for such samples.
        """


class TargetFeatureModule(nn.Module, abc.ABC):
    """The module of a target feature; nothing in it is trained.

    Attributes:
        width: F.
    """

    width: int

    @abc.abstractmethod
    def forward(self, view: View) -> Tensor:
        """The feature of every position of a view: (B, T, F) float32, without gradient.

        It does not depend on the other samples of the batch. At padding it is finite and has no meaning.
        """
