"""What didact-distill registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from didact import hookimpl
from didact_distill.ema import EMATeacher
from didact_distill.heads import ConvDecoder, LinearHead, MLPHead
from didact_distill.regression import LatentRegression
from didact_distill.targets import TopKTargets

if TYPE_CHECKING:
    from didact.testing import Example


@hookimpl
def didact_teachers() -> dict[str, type[EMATeacher]]:
    return {"ema": EMATeacher}


@hookimpl
def didact_target_builders() -> dict[str, type[TopKTargets]]:
    return {"top-k": TopKTargets}


@hookimpl
def didact_objectives() -> dict[str, type[LatentRegression]]:
    return {"latent-regression": LatentRegression}


@hookimpl
def didact_parts() -> dict[str, type[LinearHead | MLPHead | ConvDecoder]]:
    return {"linear-head": LinearHead, "mlp-head": MLPHead, "conv-decoder": ConvDecoder}


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact_distill.examples import EXAMPLES

    return EXAMPLES
