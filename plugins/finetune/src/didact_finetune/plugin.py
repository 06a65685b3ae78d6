"""The plugin of didact-finetune."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_target_builders() -> Mapping[str, str]:
    return {"labels": "didact_finetune.labels:Labels"}


@hookimpl
def didact_objectives() -> Mapping[str, str]:
    return {"classification": "didact_finetune.classification:Classification"}


@hookimpl
def didact_examples() -> str:
    return "didact_finetune.examples:examples"
