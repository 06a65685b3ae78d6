"""The plugin of didact-distill."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_target_builders() -> Mapping[str, str]:
    return {
        "top-k": "didact_distill.targets:TopKTargets",
    }


@hookimpl
def didact_objectives() -> Mapping[str, str]:
    return {
        "latent-regression": "didact_distill.regression:LatentRegression",
    }


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "ema": "didact_distill.ema:EMATeacher",
        "linear-head": "didact_distill.heads:LinearHead",
        "mlp-head": "didact_distill.heads:MLPHead",
        "conv-decoder": "didact_distill.heads:ConvDecoder",
        "tri-stage": "didact_distill.tri_stage:TriStage",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_distill.examples:examples"
