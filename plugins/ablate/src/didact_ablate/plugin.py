"""What didact-ablate registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from didact import Study, hookimpl
from didact_ablate.ablation import Ablation
from didact_ablate.commands import compare_command, diff_command

if TYPE_CHECKING:
    from didact.testing import Example


@hookimpl
def didact_studies() -> Mapping[str, type[Study]]:
    return {"ablation": Ablation}


@hookimpl
def didact_commands() -> Mapping[str, click.Command]:
    return {"compare": compare_command, "diff": diff_command}


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact_ablate.examples import EXAMPLES

    return EXAMPLES
