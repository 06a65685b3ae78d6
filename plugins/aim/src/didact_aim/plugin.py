"""What didact-aim registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from didact import Observer, hookimpl
from didact_aim.commands import ui_command
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


@hookimpl
def didact_run_finders() -> Mapping[str, Callable[[str, str], Sequence[Path]]]:
    return {"aim": _find}


@hookimpl
def didact_commands() -> Mapping[str, click.Command]:
    return {"ui": ui_command}


def _find(query: str, place: str) -> Sequence[Path]:
    from didact_aim.browsing import find

    return find(query, place)
