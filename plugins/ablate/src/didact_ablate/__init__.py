"""Ablation studies: experiments that differ in what is asked about and in nothing else, and what they say."""

from didact_ablate.ablation import Ablation

__all__ = ["Ablation"]
