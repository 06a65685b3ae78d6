"""Timm models as backbones."""

import copy

import attrs
import pytest
import torch
from timm.optim import param_groups_weight_decay

from didact import HiddenState, Layout, Signal, SpecError, Tokens
from didact.optimization import undecayed
from didact_views import BatchNorm, Pixels, TimmModel
from didact_views.timm_models import TimmModelModule

MODELS = {"test_resnet": True, "test_vit": False, "test_convnext": False, "test_efficientnet": True}


def tokens(height: int = 32, width: int = 48, rows: int = 2) -> Tokens:
    return Tokens(features=torch.randn(rows, height * width, 3), layout=Layout((height, width)))


def build(name: str) -> TimmModelModule:
    return TimmModel(name=name, normalizes_batches=MODELS[name]).build(3, Layout((32, 48))).eval()


@pytest.mark.parametrize("name", MODELS)
def test_a_models_features_are_timms_own(name):
    module = build(name)
    seen = tokens()
    context = module(seen)
    pixels = seen.features.transpose(1, 2).reshape(2, 3, 32, 48)
    theirs = module.model.forward_features(pixels)
    expected = theirs if theirs.ndim == 3 else theirs.flatten(2).transpose(1, 2)
    torch.testing.assert_close(context.output, expected)
    assert context.output.shape[-1] == module.width
    assert context.tokens.layout.positions + context.tokens.num_prefix_tokens == context.output.shape[1]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_views_of_another_size_are_taken(name):
    assert build(name)(tokens(16, 16)).output.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_batch_normalisation_is_that_of_all_processes(name):
    modules = list(build(name).modules())
    assert any(isinstance(module, BatchNorm) for module in modules) == MODELS[name]
    assert not any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in modules)


def test_it_trains():
    module = build("test_resnet").train()
    module(tokens()).output.square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_its_blocks_are_what_a_forward_pass_calls(name):
    """So that what wraps a block (sharding, computing anew, compiling) has an effect, a copy's too."""
    for module in (build(name), copy.deepcopy(build(name))):
        called = []
        for block in module.blocks:
            block.register_forward_hook(lambda block, *_, called=called: called.append(id(block)))
        module(tokens())
        assert called == [id(block) for block in module.blocks]


def test_a_model_that_keeps_its_blocks_nowhere_is_one_block():
    module = build("test_resnet")
    module.model.layer1.register_forward_hook(lambda *_: None)
    names = {name for name, _ in module.model.named_children()}
    assert {"layer1", "layer4"} <= names
    assert len(module.blocks) >= 4


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (TimmModel(name="resnet5"), r"timm has no model 'resnet5'(?s:.*)resnet50"),
        (TimmModel(name="test_vit"), "test_vit has no batch normalisation"),
        (TimmModel(name="densenet121", normalizes_batches=True, drop_path=0.1), "densenet121 has no drop path"),
        (TimmModel(name="test_resnet", normalizes_batches=False), "test_resnet has batch normalisation"),
    ],
)
def test_what_does_not_fit_is_said(spec, said):
    with pytest.raises(SpecError, match=said):
        spec.build(3, Layout((32, 32)))


def test_parts_of_images_and_inner_features_are_refused():
    module, seen = build("test_vit"), tokens()
    with pytest.raises(SpecError, match="takes whole images"):
        module(attrs.evolve(seen, padding=torch.zeros(2, 32 * 48, dtype=torch.bool)))
    with pytest.raises(SpecError, match="has no inner features"):
        module(seen, (HiddenState(block=0, feature="block"),))


def test_pixels_read_images_of_their_channels():
    with pytest.raises(SpecError, match=r"Pixels\(width=3\) reads images of so many channels"):
        Pixels().build(Signal(kind="image", axes=(1, 8, 8)))


@pytest.mark.parametrize("name", MODELS)
def test_weight_decay_spares_what_timm_spares(name):
    module = build(name)
    named = module.model.no_weight_decay() if hasattr(module.model, "no_weight_decay") else ()
    groups = param_groups_weight_decay(module.model, 0.1, no_weight_decay_list=named)
    (spared,) = (group["params"] for group in groups if not group["weight_decay"])
    exempt = undecayed(module)
    ours = {parameter for name, parameter in module.named_parameters() if name in exempt}
    assert ours == set(spared)
    assert len(ours) < len(list(module.parameters()))


def test_the_colour_of_hidden_pixels_is_not_decayed():
    assert undecayed(Pixels().build(Signal(kind="image", axes=(3, 8, 8)))) == {"mask_embedding"}
