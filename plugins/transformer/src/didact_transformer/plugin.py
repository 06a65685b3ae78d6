"""What this distribution registers."""

from __future__ import annotations

from collections.abc import Mapping

from didact import Backbone, Spec, hookimpl
from didact_transformer.initialization import DepthScaledInitialization, NormalInitialization
from didact_transformer.positions import ALiBi, BEiTBias
from didact_transformer.transformer import Transformer


@hookimpl
def didact_backbones() -> Mapping[str, type[Backbone]]:
    return {"transformer": Transformer}


@hookimpl
def didact_parts() -> Mapping[str, type[Spec]]:
    return {
        "alibi": ALiBi,
        "beit-bias": BEiTBias,
        "normal-initialization": NormalInitialization,
        "depth-scaled-initialization": DepthScaledInitialization,
    }
