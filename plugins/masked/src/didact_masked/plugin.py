"""What didact-masked registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from didact import Objective, Spec, TargetBuilder, hookimpl
from didact_masked.classifying import MaskedCrossEntropy
from didact_masked.clustering import cluster_command
from didact_masked.clusters import ClusterTargets
from didact_masked.contents import DescriptorTargets, InputIds
from didact_masked.contrasting import Contrastive
from didact_masked.decoding import CosineHead, MaskTokenDecoder, TiedHead
from didact_masked.earlier import EarlierLayer
from didact_masked.mfcc import MFCC
from didact_masked.pixels import PatchPixels
from didact_masked.quantization import QuantizedTargets

if TYPE_CHECKING:
    from didact.testing import Example


@hookimpl
def didact_target_builders() -> dict[str, type[TargetBuilder]]:
    return {
        "input-ids": InputIds,
        "descriptor-targets": DescriptorTargets,
        "cluster-targets": ClusterTargets,
        "quantized-targets": QuantizedTargets,
    }


@hookimpl
def didact_objectives() -> dict[str, type[Objective]]:
    return {"cross-entropy": MaskedCrossEntropy, "contrastive": Contrastive}


@hookimpl
def didact_parts() -> dict[str, type[Spec]]:
    return {
        "mask-token-decoder": MaskTokenDecoder,
        "tied-head": TiedHead,
        "cosine-head": CosineHead,
        "patch-pixels": PatchPixels,
        "mfcc": MFCC,
        "earlier-layer": EarlierLayer,
    }


@hookimpl
def didact_commands() -> dict[str, click.Command]:
    return {"cluster": cluster_command}


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact_masked.examples import examples

    return examples(folder)
