"""The registrations of didact-aim."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "aim": "didact_aim.observer:Aim",
        "runs": "didact_aim.browsing:AimRuns",
    }


@hookimpl
def didact_commands() -> Mapping[str, str]:
    return {
        "ui": "didact_aim.commands:ui_command",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_aim.examples:examples"
