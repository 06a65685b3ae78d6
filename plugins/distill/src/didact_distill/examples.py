"""Small instances of the components of didact-distill, for the contract's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from didact_distill.ema import EMATeacher
from didact_distill.heads import ConvDecoder, LinearHead, MLPHead
from didact_distill.regression import LatentRegression
from didact_distill.targets import TopKTargets
from didact_distill.tri_stage import TriStage
from didact_kit import Example, TinyEncoder, TinyMasker, TinySource

with_class_token = TinyEncoder(class_token=True)
decoder = ConvDecoder(width=8, layers=2, groups=2, noise=0.0)
wide_decoder = ConvDecoder(width=8, layers=3, kernel=5, groups=2)  # its kernels reach far beyond a sample's end
top = TopKTargets(k=2)


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """The examples of each component, by short name."""
    return {
        "ema": [
            Example(spec=EMATeacher(start=0.9, end=0.9, anneal_steps=0, share=share))
            for share in ("encoder", "features", "nothing")
        ],
        "top-k": [
            Example(spec=TopKTargets(k=2, feature="ffn", normalize="instance")),
            Example(spec=TopKTargets(k=2, feature="block", normalize="layer", normalize_average="layer")),
            # batch statistics: targets depend on all samples, so all have one size and none is padded
            Example(spec=TopKTargets(k=2, feature="attention", normalize="batch"), source=TinySource()),
        ],
        "latent-regression": [
            Example(spec=LatentRegression(), targets=top, encoder=with_class_token),
            Example(spec=LatentRegression(beta=4.0, scale="1", head=MLPHead()), targets=top, encoder=with_class_token),
            Example(
                spec=LatentRegression(head=decoder, class_weight=0.5),
                targets=top,
                encoder=with_class_token,
                masker=TinyMasker(masks=2, corruption="drop"),
            ),
            Example(spec=LatentRegression(head=wide_decoder), targets=top),
        ],
        "linear-head": [Example(spec=LinearHead())],
        "mlp-head": [Example(spec=MLPHead())],
        "conv-decoder": [Example(spec=decoder)],
        "tri-stage": [Example(spec=TriStage(warmup=0.1, hold=0.5, initial=0.02, final=0.05))],
    }
