"""What this distribution registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from didact import Backbone, Spec, hookimpl
from didact_transformer.initialization import DepthScaledInitialization, NormalInitialization
from didact_transformer.positions import ALiBi, BEiTBias
from didact_transformer.transformer import Transformer

if TYPE_CHECKING:
    from didact.testing import Example


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


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact_transformer.examples import EXAMPLES

    return EXAMPLES
