"""Perceiver IO for didact, and an encoder of any array: one experiment for images, speech and text."""

from didact_perceiver.arrays import Arrays
from didact_perceiver.masking import CellMasker
from didact_perceiver.perceiver import PerceiverIO
from didact_perceiver.positions import FourierPositions

__all__ = ["Arrays", "CellMasker", "FourierPositions", "PerceiverIO"]
