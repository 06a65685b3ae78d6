"""The registration of the command of didact-quickstart. It has no components."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_commands() -> Mapping[str, str]:
    return {
        "quickstart": "didact_quickstart.command:quickstart_command",
    }
