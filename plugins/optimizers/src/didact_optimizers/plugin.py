"""The plugin of didact-optimizers."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "sgd": "didact_optimizers.sgd:SGD",
        "lars": "didact_optimizers.lars:LARS",
        "muon": "didact_optimizers.muon:Muon",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_optimizers.examples:examples"
