"""The plugin of didact-masked: its registrations."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_target_builders() -> Mapping[str, str]:
    return {
        "input-ids": "didact_masked.contents:InputIds",
        "feature-targets": "didact_masked.contents:FeatureTargets",
        "cluster-targets": "didact_masked.clusters:ClusterTargets",
        "quantized-targets": "didact_masked.quantization:QuantizedTargets",
    }


@hookimpl
def didact_objectives() -> Mapping[str, str]:
    return {
        "cross-entropy": "didact_masked.classifying:MaskedCrossEntropy",
        "contrastive": "didact_masked.contrasting:Contrastive",
    }


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "block-predictor": "didact_masked.block_prediction:BlockPredictor",
        "mask-token-decoder": "didact_masked.decoding:MaskTokenDecoder",
        "tied-head": "didact_masked.decoding:TiedHead",
        "cosine-head": "didact_masked.decoding:CosineHead",
        "patch-pixels": "didact_masked.pixels:PatchPixels",
        "mfcc": "didact_masked.mfcc:MFCC",
        "earlier-layer": "didact_masked.earlier:EarlierLayer",
    }


@hookimpl
def didact_commands() -> Mapping[str, str]:
    return {
        "cluster": "didact_masked.commands:cluster_command",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_masked.examples:examples"
