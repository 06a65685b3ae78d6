"""The plugin of didact-transformer."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_backbones() -> Mapping[str, str]:
    return {
        "transformer": "didact_transformer.transformer:Transformer",
    }


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "alibi": "didact_transformer.positions:ALiBi",
        "beit-bias": "didact_transformer.positions:BEiTBias",
        "normal-initialization": "didact_transformer.initialization:NormalInitialization",
        "depth-scaled-initialization": "didact_transformer.initialization:DepthScaledInitialization",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_transformer.examples:examples"
