"""The networks of the published image experiments, against transformers' and against the published parameter counts."""

import runpy
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from didact import Batch, Experiment, HiddenState, Mask, Network, build_learner
from didact.building import build_network
from didact.tensors import BatchMask, View

transformers = pytest.importorskip("transformers")
pytest.importorskip("didact_transformer")
pytest.importorskip("didact_distill")

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def published(name: str) -> Experiment:
    return runpy.run_path(str(EXPERIMENTS / "data2vec" / f"{name}.py"))["experiment"]


def weights_from(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names and shapes of ours for the weights of `Data2VecVisionModel`."""
    weights = {
        "encoder.class_token": state["embeddings.cls_token"].flatten(),
        "encoder.mask_token": state["embeddings.mask_token"][0, 0],
        "encoder.projection.proj.weight": state["embeddings.patch_embeddings.projection.weight"],
        "encoder.projection.proj.bias": state["embeddings.patch_embeddings.projection.bias"],
        "backbone.positions.table": state["encoder.relative_position_bias.relative_position_bias_table"],
        "backbone.output_norm.weight": state["layernorm.weight"],
        "backbone.output_norm.bias": state["layernorm.bias"],
    }
    depth = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layer."))
    for index in range(depth):
        theirs, ours = f"encoder.layer.{index}.", f"backbone.blocks.{index}."
        attention = theirs + "attention.attention."
        weights[ours + "attention.qkv.weight"] = torch.cat(
            [state[f"{attention}{part}.weight"] for part in ("query", "key", "value")]
        )
        weights[ours + "attention.query_value_bias"] = torch.cat(
            [state[f"{attention}{part}.bias"] for part in ("query", "value")]
        )
        weights[ours + "attention_residual.scale"] = state[theirs + "lambda_1"]
        weights[ours + "ffn_residual.scale"] = state[theirs + "lambda_2"]
        for ours_part, theirs_part in (
            ("attention.projection", "attention.output.dense"),
            ("attention_residual.norm", "layernorm_before"),
            ("ffn_residual.norm", "layernorm_after"),
            ("ffn.inner", "intermediate.dense"),
            ("ffn.outer", "output.dense"),
        ):
            for kind in ("weight", "bias"):
                weights[f"{ours}{ours_part}.{kind}"] = state[f"{theirs}{theirs_part}.{kind}"]
    return weights


@pytest.fixture(scope="module")
def pair():
    """transformers' base model with random weights far from their initialisation, and ours with the same."""
    torch.manual_seed(0)
    config = transformers.Data2VecVisionConfig(
        use_mask_token=True,
        use_shared_relative_position_bias=True,
        use_relative_position_bias=False,
        use_mean_pooling=False,
        layer_norm_eps=1e-6,
    )
    with torch.device("meta"):  # both cut their initial weights from normals, which takes longer than all else here
        theirs = transformers.Data2VecVisionModel(config, add_pooling_layer=False).eval()
        ours = build_network(published("vision_base")).eval()
    assert not list(theirs.buffers())
    assert not list(ours.buffers())
    theirs = theirs.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lambda" in name:
                parameter.uniform_(0.2, 0.6)
            elif "norm" in name and name.endswith("weight"):
                parameter.uniform_(0.7, 1.3)
            elif parameter.ndim == 1 or "token" in name or "table" in name:
                parameter.normal_(std=0.3)
            else:
                parameter.normal_(std=0.02)
    ours.load_state_dict(weights_from(theirs.state_dict()), assign=True)
    return theirs, ours


def both(pair, masked: bool) -> tuple[object, dict[str, list[torch.Tensor]], Network, View]:
    theirs, ours = pair
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    mask = None
    if masked:
        masker = published("vision_base").masker
        layout = published("vision_base").encoder.layout((3, 224, 224))
        masks = [masker.sample(layout, generator=torch.Generator().manual_seed(seed)) for seed in range(1)]
        mask = BatchMask.collate(masks, layout.positions)
    hooked: dict[str, list[torch.Tensor]] = {"ffn": [], "attention": []}
    hooks = []
    for layer in theirs.encoder.layer:
        hooks.append(layer.output.dense.register_forward_hook(lambda m, i, o: hooked["ffn"].append(o)))
        hooks.append(layer.attention.output.dense.register_forward_hook(lambda m, i, o: hooked["attention"].append(o)))
    with torch.no_grad():
        output = theirs(
            images, bool_masked_pos=mask.predicted[:, 0] if mask is not None else None, output_hidden_states=True
        )
    for hook in hooks:
        hook.remove()
    layout = published("vision_base").encoder.layout((3, 224, 224))
    return output, hooked, ours, View(content=images, layout=layout, mask=mask)


@pytest.mark.parametrize("masked", [False, True])
def test_every_feature_equals_transformers_at_base_size(pair, masked):
    output, hooked, ours, view = both(pair, masked)
    expected = {"block": output.hidden_states[1:], **hooked}
    with torch.no_grad():
        tokens = ours.encoder.embed(view)
        for feature in ("block", "ffn", "attention"):
            context = ours.contextualize(tokens, view.mask, HiddenState.last(feature, 12, 12))
            assert len(context.hidden_states) == len(expected[feature]) == 12
            for found, wanted in zip(context.hidden_states, expected[feature], strict=True):
                assert (found - wanted).abs().max() <= 1e-4
            assert (context.output - output.last_hidden_state).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("name", "network", "head"),
    [("vision_base", 85_666_128, 590_592), ("vision2_base", 85_647_360, 2_585_856)],
)
def test_published_experiments_have_the_published_number_of_weights(name, network, head):
    with torch.device("meta"):
        learner = build_learner(published(name))
    assert sum(parameter.numel() for parameter in learner.network.parameters()) == network
    assert sum(parameter.numel() for parameter in learner.objective.parameters()) == head


def small(name: str) -> Experiment:
    """A published experiment with a small network, everything else as it is."""
    experiment = published(name)
    changes: dict[str, object] = {
        "source.size": 64,
        "encoder.patch": 8,
        "encoder.width": 32,
        "backbone.width": 32,
        "backbone.depth": 3,
        "backbone.heads": 4,
        "targets.k": 2,
    }
    if name == "vision2_base":
        changes |= {"masker.masks": 3, "objective.head.width": 32, "objective.head.layers": 2}
    return experiment.evolve(**changes)


@pytest.mark.parametrize("name", ["vision_base", "vision2_base"])
def test_a_step_of_each_published_experiment_gives_every_weight_a_gradient(name):
    experiment = small(name)
    learner = build_learner(experiment)
    layout = experiment.encoder.layout((3, 64, 64))
    masks = [experiment.masker.sample(layout, generator=torch.Generator().manual_seed(s)) for s in range(4)]
    mask: BatchMask = BatchMask.collate(masks, layout.positions)
    view = View(content=torch.randn(4, 3, 64, 64), layout=layout, mask=mask)
    batch = Batch(views=(view,), ids=torch.arange(4))
    total, _ = learner(batch, learner.objective.num_targets(batch))
    total.backward()
    assert torch.isfinite(total)
    idle = {name for name, p in learner.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    # in evaluation mode a drop path of 0 leaves all in use; in training the last block's path may be dropped for all
    assert not {name for name in idle if name.startswith(("network.encoder", "objective"))}
    if name == "vision2_base":
        assert not idle


def test_an_all_visible_student_equals_the_teacher_at_its_start():
    experiment = small("vision2_base")
    network = build_network(experiment).eval()
    layout = experiment.encoder.layout((3, 64, 64))
    content = torch.randn(2, 3, 64, 64)
    nothing = BatchMask.collate([Mask.drop(torch.zeros(3, 64, dtype=torch.bool))] * 2, 64)
    with torch.no_grad():
        tokens = network.encoder.embed(View(content=content, layout=layout))
        student = network.contextualize(tokens, nothing, HiddenState.last("ffn", 2, 2))
        teacher = network.contextualize(tokens, None, HiddenState.last("ffn", 2, 2))
    for ours, theirs in zip(
        (*student.hidden_states, student.output), (*teacher.hidden_states, teacher.output), strict=True
    ):
        assert torch.allclose(ours, theirs.repeat_interleave(3, 0), atol=1e-5)


def test_the_students_output_does_not_depend_on_what_is_masked():
    for name in ("vision_base", "vision2_base"):
        experiment = small(name)
        network = build_network(experiment).eval()
        layout = experiment.encoder.layout((3, 64, 64))
        one_mask = experiment.masker.evolve(masks=1)
        masks = [one_mask.sample(layout, generator=torch.Generator().manual_seed(s)) for s in range(2)]
        mask = BatchMask.collate(masks, layout.positions)
        content = torch.randn(2, 3, 64, 64)
        pixels = mask.predicted.reshape(2, 1, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
        with torch.no_grad():
            outputs = [
                network(View(content=seen, layout=layout, mask=mask)).backbone_output.output
                for seen in (content, content.masked_fill(pixels, 100.0))
            ]
        assert torch.equal(*outputs)
