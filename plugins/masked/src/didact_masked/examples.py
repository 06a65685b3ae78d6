"""Small instances of the components of didact-masked, for the contract's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from didact_distill import LinearHead
from didact_kit import Example, NoiseSource, TinyBackbone, TinyMasker, TinySource, TinyWords
from didact_masked.block_prediction import BlockPredictor
from didact_masked.classifying import MaskedCrossEntropy
from didact_masked.clusters import ClusterTargets, write_codebook
from didact_masked.contents import FeatureTargets, InputIds
from didact_masked.contrasting import Contrastive
from didact_masked.decoding import CosineHead, MaskTokenDecoder, TiedHead
from didact_masked.earlier import EarlierLayer
from didact_masked.mfcc import MFCC
from didact_masked.pixels import PatchPixels
from didact_masked.quantization import QuantizedTargets

words = NoiseSource(kind="tokens", axes=(12,), uneven=True, vocabulary=11)
even = TinySource()  # samples of one size, so that the layout is known
text: dict[str, Any] = {"source": words, "encoder": TinyWords()}
decoder = MaskTokenDecoder(width=6, backbone=TinyBackbone(depth=2))
quantized = QuantizedTargets(width=6, groups=2, codes=5, noise=0.0, dropout=0.0)
dropping = TinyMasker(masks=2, corruption="drop")


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """Returns the examples, and writes the codebook that one of them reads to ``folder``."""
    clusters = ClusterTargets(codebook=str(folder / "walks.npz"), feature=PatchPixels(normalize=False), clusters=4)
    drawn = torch.randn(4, even.channels, generator=torch.Generator().manual_seed(0))
    write_codebook(clusters, drawn.numpy())
    return {
        "input-ids": [Example(spec=InputIds(), objective=MaskedCrossEntropy(head=TiedHead()), **text)],
        "feature-targets": [
            Example(spec=FeatureTargets(feature=PatchPixels(normalize=normalize)), source=even)
            for normalize in (True, False)
        ],
        "cluster-targets": [Example(spec=clusters, source=even, objective=MaskedCrossEntropy())],
        "quantized-targets": [Example(spec=quantized, objective=Contrastive(distractors=3), learns=True)],
        "cross-entropy": [
            Example(spec=MaskedCrossEntropy(head=TiedHead()), targets=InputIds(), **text),
            Example(spec=MaskedCrossEntropy(head=CosineHead(width=6)), source=even, targets=clusters),
            Example(spec=MaskedCrossEntropy(head=decoder), source=even, targets=clusters, masker=dropping),
        ],
        "contrastive": [
            Example(spec=Contrastive(distractors=3), targets=quantized, learns=True),
            Example(spec=Contrastive(distractors=3, diversity=0.0), targets=quantized, learns=True),
            Example(spec=Contrastive(distractors=3, diversity=0.0, head=LinearHead(initialization="normal"))),
        ],
        "block-predictor": [Example(spec=BlockPredictor(width=6, backbone=TinyBackbone(depth=2)))],
        "mask-token-decoder": [
            Example(
                spec=decoder, objective=MaskedCrossEntropy(head=decoder), source=even, targets=clusters, masker=dropping
            )
        ],
        "tied-head": [Example(spec=TiedHead())],
        "cosine-head": [Example(spec=CosineHead())],
        "patch-pixels": [Example(spec=PatchPixels())],
        "mfcc": [Example(spec=MFCC())],
        "earlier-layer": [Example(spec=EarlierLayer(run="runs/earlier"))],
    }
