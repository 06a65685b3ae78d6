"""The registrations of didact-doctor."""

from __future__ import annotations

from collections.abc import Mapping

from didact import hookimpl


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "doctor": "didact_doctor.observer:Doctor",
    }


@hookimpl
def didact_commands() -> Mapping[str, str]:
    return {
        "doctor": "didact_doctor.cli.doctor:doctor_command",
        "bench": "didact_doctor.cli.bench:bench_command",
        "replay": "didact_doctor.cli.replay:replay_command",
        "prove": "didact_doctor.cli.prove:prove_command",
    }
