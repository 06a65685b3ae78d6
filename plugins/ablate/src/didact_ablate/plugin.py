"""The registrations of didact-ablate."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "ablation": "didact_ablate.ablation:Ablation",
    }


@hookimpl
def didact_commands() -> Mapping[str, str]:
    return {
        "compare": "didact_ablate.commands:compare_command",
        "diff": "didact_ablate.commands:diff_command",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_ablate.examples:examples"
