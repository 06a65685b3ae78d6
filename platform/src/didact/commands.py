"""The core's commands by name, which no plugin may claim; each is imported only when it is called for."""

from __future__ import annotations

from collections.abc import Mapping

CORE: Mapping[str, str] = {
    "run": "didact.cli.run:run_command",
    "resume": "didact.cli.run:resume_command",
    "doctor": "didact.cli.doctor:doctor_command",
    "ingest": "didact.cli.ingest:ingest_command",
    "inspect": "didact.cli.inspect:inspect_command",
    "plugin": "didact.cli.plugins:plugin_group",
    "replay": "didact.cli.replay:replay_command",
    "bench": "didact.cli.bench:bench_command",
}

ALIASES: Mapping[str, str] = {"plugins": "plugin"}
