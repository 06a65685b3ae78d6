"""The registrations of didact-stores: its commands."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_commands() -> Mapping[str, str]:
    return {
        "ingest": "didact_stores.cli.ingest:ingest_command",
        "inspect": "didact_stores.cli.inspect:inspect_command",
    }
