"""Preflight: what is known of a run before its first step, and findings about the run.

A spec that checks itself against the data or the length of a run has a method ``examine(preflight)``, which yields
findings. The plugin didact-doctor calls this method.
"""

from __future__ import annotations

from typing import Literal

import attrs
import numpy as np

from didact.tensors import Layout


@attrs.frozen(kw_only=True)
class Finding:
    """The result of one check before the first step; usually made with `fine` or `warning`.

    Attributes:
        severity: ``error``: the run would fail, so it does not start; ``warning``: the run would complete, but most
            likely not do what was intended; ``fine``: information.
        says: the finding, in one sentence with its numbers.
        where: the field that the finding is about, relative to the reporting part; empty for the part as a whole.
        hint: which field to change, and to what; empty only if the severity is ``fine``.
    """

    severity: Literal["fine", "warning", "error"]
    says: str
    where: str = ""
    hint: str = ""

    @classmethod
    def fine(cls, says: str, *, where: str = "") -> Finding:
        """Makes a finding that only informs."""
        return cls(severity="fine", says=says, where=where)

    @classmethod
    def warning(cls, says: str, *, where: str = "", hint: str) -> Finding:
        """Makes a finding about a run that would complete, but most likely not do what was intended."""
        return cls(severity="warning", says=says, where=where, hint=hint)


@attrs.frozen(kw_only=True, eq=False)
class Preflight:
    """What is known of a run before its first step; the argument of ``examine``.

    Attributes:
        steps: number of optimizer steps of the run.
        samples: number of samples to learn from.
        layouts: the different layouts that the encoder gives to samples, from the shortest sample to the longest. If
            lengths vary, this is a selection that includes the shortest and the longest.
        positions: (N,); number of positions in each sample's view.
        samples_per_step: (P,); number of samples in each step of the first epoch.
        positions_per_step: (P,); number of positions in these steps, in all views together, without padding.
        steps_per_epoch: number of steps that see every sample once.
        blocks: number of blocks in the backbone.
        pretrained: whether the network, and the parts built from it, start from trained weights.
    """

    steps: int
    samples: int
    layouts: tuple[Layout, ...]
    positions: np.ndarray
    samples_per_step: np.ndarray
    positions_per_step: np.ndarray
    steps_per_epoch: float
    blocks: int
    pretrained: bool = False
