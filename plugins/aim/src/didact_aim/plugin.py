"""What didact-aim registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from didact import Observer, hookimpl
from didact_aim.observer import Aim

if TYPE_CHECKING:
    from didact.testing import Example


@hookimpl
def didact_observers() -> Mapping[str, type[Observer]]:
    return {"aim": Aim}


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact_aim.examples import EXAMPLES

    return EXAMPLES
