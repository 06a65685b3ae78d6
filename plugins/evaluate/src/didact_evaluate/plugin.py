"""What didact-evaluate registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from didact import Evaluation, hookimpl
from didact_evaluate.health import Health
from didact_evaluate.pictures import Pictures
from didact_evaluate.probe import Probe

if TYPE_CHECKING:
    from didact.testing import Example


@hookimpl
def didact_evaluations() -> Mapping[str, type[Evaluation]]:
    return {"health": Health, "pictures": Pictures, "probe": Probe}


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact_evaluate.examples import EXAMPLES

    return EXAMPLES
