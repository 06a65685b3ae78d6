"""Projectors against lightly's, and the backbone with a projector."""

import attrs
import pytest
import torch
from lightly.models.modules import heads
from torch import nn

from didact import HiddenState, Layout, SpecError, Tokens
from didact_transformer import Transformer
from didact_views import MLP, Projected, PrototypeHead


def copy_layers(theirs: nn.Module, own: nn.Module) -> None:
    """Takes over the weights of linear layers and norms, in order."""
    mine = [layer for layer in own.modules() if not list(layer.children()) and list(layer.parameters())]
    other = [
        layer
        for layer in theirs.modules()
        if isinstance(layer, (nn.Linear, nn.BatchNorm1d)) and (isinstance(layer, nn.Linear) or layer.affine)
    ]
    with torch.no_grad():
        for one, two in zip(mine, other, strict=True):
            one.weight.copy_(two.weight)
            if one.bias is not None:
                one.bias.copy_(two.bias)


@pytest.mark.parametrize(
    ("spec", "theirs"),
    [
        (MLP(hidden=16, out=6), heads.BYOLProjectionHead(8, 16, 6)),
        (MLP(layers=3, hidden=16, out=16, output_norm="batch"), heads.SimSiamProjectionHead(8, 16, 16)),
        (MLP(layers=3, hidden=16, out=16), heads.VICRegProjectionHead(8, 16, 16)),
        (MLP(hidden=4, out=8), heads.SimSiamPredictionHead(8, 4, 8)),
    ],
)
def test_the_published_projectors_are_lightlys(spec, theirs):
    own = spec.build(8)
    copy_layers(theirs, own)
    x = torch.randn(10, 8)
    torch.testing.assert_close(own(x), theirs(x), atol=1e-5, rtol=1e-5)
    assert own.width == spec.out


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_dinos_head_is_lightlys(norm):
    theirs = heads.DINOProjectionHead(8, hidden_dim=16, bottleneck_dim=5, output_dim=12, batch_norm=norm == "batch")
    own = PrototypeHead(hidden=16, bottleneck=5, prototypes=12, norm=norm).build(8)
    with torch.no_grad():
        linear = [layer for layer in theirs.layers if isinstance(layer, nn.Linear)]
        for one, two in zip([layer for layer in own.layers if isinstance(layer, nn.Linear)], linear, strict=True):
            one.weight.copy_(two.weight)  # their biases are zero, or a norm takes them off
        own.prototypes.copy_(3 * theirs.last_layer.weight_v)  # their lengths do not count
    x = torch.randn(10, 8)
    torch.testing.assert_close(own(x), theirs(x), atol=1e-5, rtol=1e-5)


def test_the_defaults_are_byols():
    assert (MLP().layers, MLP().hidden, MLP().out, MLP().norm, MLP().output_norm) == (2, 4096, 256, "batch", "none")


@pytest.mark.parametrize(
    ("projector", "supports_accumulation"),
    [
        (MLP(), False),
        (MLP(norm="none"), True),
        (MLP(layers=1), True),
        (MLP(norm="none", output_norm="batch"), False),
        (PrototypeHead(), True),
        (PrototypeHead(norm="batch"), False),
    ],
)
def test_batch_normalisation_makes_a_backbone_need_the_whole_batch(projector, supports_accumulation):
    assert Projected(backbone=Transformer(), projector=projector).supports_accumulation == supports_accumulation


def projected(**fields) -> nn.Module:
    inner = Transformer(width=8, depth=2, heads=2)
    spec = Projected(backbone=inner, projector=MLP(layers=1, out=8, norm="none"), **fields)
    module = spec.build(8, Layout((5,))).eval()
    with torch.no_grad():
        module.projector.layers[0].weight.copy_(torch.eye(8))
        module.projector.layers[0].bias.zero_()
    return module


def test_pooling_leaves_out_padding_and_extra_tokens():
    module = projected()
    padding = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    tokens = Tokens(features=torch.randn(2, 6, 8), layout=Layout((5,)), padding=padding, num_prefix_tokens=1)
    context = module(tokens)
    torch.testing.assert_close(context.pooled[0], context.output[0, 1:].mean(0))
    torch.testing.assert_close(context.pooled[1], context.output[1, 1:4].mean(0))


def test_class_pooling_takes_the_first_token_and_asks_for_one():
    module = projected(pooling="class")
    tokens = Tokens(features=torch.randn(2, 6, 8), layout=Layout((5,)), num_prefix_tokens=1)
    context = module(tokens)
    torch.testing.assert_close(context.pooled, context.output[:, 0])
    with pytest.raises(SpecError, match="takes the class token, and the encoder gives none"):
        module(attrs.evolve(tokens, num_prefix_tokens=0))


def test_blocks_features_and_weights_are_those_inside_once():
    module = projected()
    assert list(module.blocks) == list(module.inner.blocks)
    names = list(module.state_dict())
    assert len({value.data_ptr() for value in module.state_dict().values()}) == len(names)
    assert not [name for name in names if name.startswith("blocks.")]
    tokens = Tokens(features=torch.randn(2, 5, 8), layout=Layout((5,)))
    output = module(tokens, HiddenState.last("ffn", 2, len(module.blocks)))
    assert len(output.hidden_states) == 2
