"""A small Aim observer, for the contract checks; it writes into the folder it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from didact_aim.observer import Aim
from didact_kit import Example


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """Returns the examples of each component, by short name."""
    return {"aim": [Example(spec=Aim())]}
