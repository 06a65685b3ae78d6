"""Which parameters Muon orthogonalises, and that both parts are PyTorch's own."""

from __future__ import annotations

import pytest
import torch

from didact import SpecError, build_learner
from didact.optimization import build_optimizer, set_rates
from didact_kit import Case, Example, TinyEncoder
from didact_optimizers import Muon
from didact_transformer import BEiTBias, Transformer

SPEC = Transformer(width=8, depth=2, heads=2, norm="pre", dropout=0.0, attention_dropout=0.0, positions=BEiTBias())


def learner_and_optimizer(muon: Muon, **training: object):
    from didact_kit import TinySource

    example = Example(spec=SPEC, encoder=TinyEncoder(class_token=True), source=TinySource(height=4, length=4))
    experiment = Case(example, "backbone").experiment.evolve(
        **{"training.optimizer": muon, **{f"training.{name}": value for name, value in training.items()}}
    )
    learner = build_learner(experiment)
    return experiment.training, learner, build_optimizer(experiment.training, learner)


def test_matrices_of_blocks_are_orthogonalised_and_everything_else_is_not():
    _, learner, optimizer = learner_and_optimizer(Muon(learning_rate=0.01))
    muon, adamw = optimizer.parts
    assert type(muon) is torch.optim.Muon
    assert type(adamw) is torch.optim.AdamW
    names = [{name for group in part.param_groups for name in group["param_names"]} for part in (muon, adamw)]
    trained = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    assert names[0] | names[1] == trained.keys()
    assert not names[0] & names[1]
    for name, parameter in trained.items():
        table = "bias" in name.rpartition(".")[2] or "table" in name or "scale" in name
        matrix = name.startswith("network.backbone.blocks.") and parameter.ndim == 2 and not table
        assert (name in names[0]) == matrix, name


@pytest.mark.parametrize("adjustment", ["original", "match_rms_adamw"])
def test_a_step_is_that_of_pytorchs_two_optimizers(adjustment):
    spec = Muon(
        learning_rate=0.02, weight_decay=0.3, momentum=0.9, adjustment=adjustment, adamw_learning_rate_scale=0.1
    )
    training, learner, optimizer = learner_and_optimizer(spec, layer_decay=0.5)
    copies = {name: torch.nn.Parameter(p.detach().clone()) for name, p in learner.named_parameters() if p.requires_grad}
    theirs = []
    for part in optimizer.parts:
        for group in part.param_groups:
            name = group["param_names"][0]
            layer = 0 if "encoder" in name else int(name.split(".")[3]) + 1 if ".blocks." in name else 3
            own = [copies[name] for name in group["param_names"]]
            rate, decay = 0.02 * 0.5 ** (3 - layer), 0.0 if group["exempt"] else 0.3
            settings = {"lr": rate, "weight_decay": decay, "momentum": 0.9, "adjust_lr_fn": adjustment}
            if type(part) is torch.optim.AdamW:
                settings = {"lr": 0.1 * rate, "weight_decay": decay, "betas": (0.9, 0.95), "fused": True}
            theirs.append(type(part)(own, **settings))
    torch.manual_seed(0)
    for _ in range(3):
        set_rates(optimizer, training, 0)
        for name, parameter in learner.named_parameters():
            if name in copies:
                parameter.grad = torch.randn_like(parameter)
                copies[name].grad = parameter.grad.clone()
        optimizer.step()
        for one in theirs:
            one.step()
    for name, parameter in learner.named_parameters():
        if name in copies:
            torch.testing.assert_close(parameter, copies[name], rtol=1e-5, atol=1e-6, msg=name)


def test_the_momentum_of_a_matrix_is_orthogonalised():
    """All singular values of a first step are near one another, whatever those of the gradient."""
    weight = torch.nn.Parameter(torch.zeros(6, 4))
    about = {"exempt": False, "in_blocks": True, "learning_rate_scale": 1.0, "weight_decay": 0.0, "lr": 1.0}
    optimizer = Muon(learning_rate=1.0, adjustment="original").build([{"params": [("w", weight)], **about}])
    u, _, v = torch.linalg.svd(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    weight.grad = u @ torch.diag(torch.tensor([1.0, 0.5, 0.3, 0.2])) @ v
    optimizer.step()
    values = torch.linalg.svdvals(weight.detach()) / (6 / 4) ** 0.5
    assert 0.6 < values.min() <= values.max() < 1.3


def test_the_state_and_the_groups_are_those_of_one_optimizer():
    training, learner, optimizer = learner_and_optimizer(Muon(learning_rate=0.02, adamw_learning_rate_scale=0.5))
    for parameter in (p for p in learner.parameters() if p.requires_grad):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert {len(state) for state in optimizer.state.values()} == {1, 3}
    assert len(optimizer.state) == sum(p.requires_grad for p in learner.parameters())
    set_rates(optimizer, training, 0)
    rates = {type(part): {group["lr"] for group in part.param_groups} for part in optimizer.parts}
    assert rates == {torch.optim.Muon: {0.02}, torch.optim.AdamW: {0.01}}
    optimizer.state.clear()
    assert not any(part.state for part in optimizer.parts)


def test_a_pytorch_without_muon_is_refused_with_a_hint(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(SpecError, match=r"Muon needs torch\.optim\.Muon") as found:
        learner_and_optimizer(Muon(learning_rate=0.1))
    assert "AdamW" in found.value.hint


def test_a_network_without_matrices_in_blocks_is_refused():
    vector = torch.nn.Parameter(torch.zeros(3))
    group = {"params": [("v", vector)], "exempt": False, "in_blocks": True, "learning_rate_scale": 1.0}
    with pytest.raises(SpecError, match="no such matrix is trained"):
        Muon(learning_rate=0.1).build([group])


def test_a_network_of_matrices_alone_needs_no_adamw():
    matrix = torch.nn.Parameter(torch.zeros(3, 2))
    group = {"params": [("m", matrix)], "exempt": False, "in_blocks": True, "learning_rate_scale": 1.0}
    (part,) = Muon(learning_rate=0.1).build([group]).parts
    assert type(part) is torch.optim.Muon


@pytest.mark.parametrize(
    ("field", "value"),
    [("momentum", 1.0), ("iterations", 0), ("adamw_learning_rate_scale", 0.0), ("betas", (0.9, 1.0)), ("epsilon", 0.0)],
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(SpecError, match=f"Muon.{field} must be"):
        Muon(**{"learning_rate": 1.0, field: value})
