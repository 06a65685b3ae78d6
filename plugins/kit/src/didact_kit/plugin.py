"""The registrations of didact-kit."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_commands() -> Mapping[str, str]:
    return {
        "plugin": "didact_kit.cli.plugin:plugin_group",
    }
