"""Descriptors: what is known of each position without the network that learns from it."""

from __future__ import annotations

import abc

import attrs
from torch import Tensor, nn

from didact import Network, Spec, View


@attrs.frozen(kw_only=True)
class Descriptor(Spec, abc.ABC):
    """What each position is described by."""

    @abc.abstractmethod
    def build(self, network: Network) -> DescriptorModule:
        """The module, for the samples that ``network`` reads.

        Raises:
            SpecError: it cannot describe such samples.
        """


class DescriptorModule(nn.Module, abc.ABC):
    """A descriptor at work; nothing in it is trained.

    Attributes:
        width: F of what it gives.
    """

    width: int

    @abc.abstractmethod
    def forward(self, view: View) -> Tensor:
        """The description of every position of a view: (B, T, F) float32, without gradient.

        That of a sample depends on nothing beside it in the batch; at padding it is finite, and means nothing.
        """
