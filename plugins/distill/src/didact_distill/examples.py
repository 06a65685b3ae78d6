"""Small instances of what didact-distill registers, for the contract's rules."""

from didact.testing import Example, TinyEncoder, TinyMasker, TinySource
from didact_distill.ema import EMATeacher
from didact_distill.heads import ConvDecoder, LinearHead, MLPHead
from didact_distill.regression import LatentRegression
from didact_distill.targets import TopKTargets

with_class_token = TinyEncoder(class_token=True)
decoder = ConvDecoder(width=8, layers=2, groups=2, noise=0.0)
wide_decoder = ConvDecoder(width=8, layers=3, kernel=5, groups=2)  # which reads far beyond a sample's end
top = TopKTargets(k=2)

EXAMPLES = {
    "ema": [
        Example(spec=EMATeacher(start=0.9, end=0.9, anneal_steps=0, shares=shares))
        for shares in ("encoder", "features", "nothing")
    ],
    "top-k": [
        Example(spec=TopKTargets(k=2, feature="ffn", normalize="instance")),
        Example(spec=TopKTargets(k=2, feature="block", normalize="layer", normalize_average="layer")),
        # statistics of the batch: no sample's targets are its own, so all are of one size and none is padded
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
}
