"""The optimizer's groups, the rates of a step, frozen parts, and the state that a checkpoint holds."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest
import torch

from didact import (
    AdamW,
    BatchSize,
    Constant,
    Cosine,
    Experiment,
    ParameterGroup,
    Schedule,
    SpecError,
    Training,
    build_learner,
)
from didact.loading import StepBatch
from didact.loop.trainer import Trainer
from didact.machine.distributed import World
from didact.optimization import build_optimizer, named_optimizer_state, set_rates
from didact.record import checkpoint
from didact_kit import (
    Case,
    Example,
    TinyBackbone,
    TinyEncoder,
    TinyMasker,
    TinyObjective,
    TinySource,
    TinyTargets,
    TinyTeacher,
)

CASE = Case(Example(spec=TinyBackbone(depth=3), backbone=TinyBackbone(depth=3)), "backbone")


def experiment(**training: object) -> Experiment:
    settings = {
        "steps": 10,
        "batch": BatchSize.samples(4),
        "optimizer": AdamW(learning_rate=0.1, weight_decay=0.2),
        "precision": "float32",
        "num_workers": 0,
    }
    return Experiment(
        name="tiny",
        source=TinySource(uneven=True),
        encoder=TinyEncoder(),
        masker=TinyMasker(),
        backbone=TinyBackbone(depth=3),
        targets=TinyTargets(teacher=TinyTeacher()),
        objective=TinyObjective(),
        training=Training(**settings | training),
    )


def groups(**training: object) -> dict[str, dict[str, object]]:
    """The settings of each trained parameter, by name."""
    made = experiment(**training)
    optimizer = build_optimizer(made.training, build_learner(made))
    set_rates(optimizer, made.training, 0)
    return {name: group for group in optimizer.param_groups for name in group["param_names"]}


def trainer(**training: object) -> Trainer:
    made = experiment(**training)
    return Trainer(made, build_learner(made), torch.device("cpu"))


def step(trainer: Trainer) -> dict[str, float]:
    batch = CASE.batch(range(trainer.step, trainer.step + 4))
    held = StepBatch(step=trainer.step, epoch=0, parts=(batch,), samples=4, held=1, cells=1)
    return {name: float(value) for name, value in trainer.take_step(held).items()}


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainer.learner.named_parameters()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name]) and not name.startswith("targets.")}


ENCODER = {"network.encoder.mask_embedding", "network.encoder.projection.weight", "network.encoder.projection.bias"}
BLOCKS = {f"network.backbone.blocks.{number}.{own}" for number in range(3) for own in ("weight", "bias")}


def test_without_settings_of_their_own_all_parameters_have_the_optimizers():
    made = groups()
    assert made.keys() > ENCODER | BLOCKS
    assert not any(name.startswith("targets.") for name in made)  # a teacher is not trained
    for name, group in made.items():
        assert group["lr"] == 0.1
        assert group["exempt"] == name.endswith("bias") or "norm" in name, name
        assert group["weight_decay"] == (0.0 if group["exempt"] else 0.2)
        assert group["in_blocks"] == (name in BLOCKS)


def test_a_layers_rate_falls_from_the_head_to_the_encoder_as_in_beit():
    """The table of a network of three blocks, by hand: BEiT's layer ids 0 to 4, rate 0.5 ** (4 - id)."""
    table = {"network.encoder": 0.0625, "blocks.0": 0.125, "blocks.1": 0.25, "blocks.2": 0.5, "": 1.0}
    seen = set()
    for name, group in groups(layer_decay=0.5).items():
        key = next(key for key in table if key in name)
        seen.add(key)
        assert group["lr"] == pytest.approx(0.1 * table[key]), name
    assert seen == set(table)


def test_layer_ids_are_beits():
    def get_num_layer_for_vit(name: str, num_max_layer: int) -> int:  # from BEiT's optim_factory.py, renamed
        if name.startswith("network.encoder"):  # cls_token, mask_token, pos_embed, patch_embed
            return 0
        if name.startswith("network.backbone.blocks"):
            return int(name.split(".")[3]) + 1
        return num_max_layer - 1

    num_layers = 3
    values = [0.65 ** (num_layers + 1 - layer) for layer in range(num_layers + 2)]
    for name, group in groups(layer_decay=0.65).items():
        assert group["learning_rate_scale"] == pytest.approx(values[get_num_layer_for_vit(name, len(values))]), name


def test_the_first_group_that_matches_sets_scale_and_decay_and_exempt_parameters_stay_exempt():
    own = (
        ParameterGroup(parameters="network.backbone.blocks.1.*", learning_rate_scale=0.5, weight_decay=0.3),
        ParameterGroup(parameters="network.*", learning_rate_scale=0.1),
    )
    made = groups(parameter_groups=own, layer_decay=0.5)
    for name, group in made.items():
        scale, decay = (0.5, 0.3) if "blocks.1" in name else (0.1, 0.2) if name.startswith("network.") else (1, 0.2)
        depth = 4 if "encoder" in name else 3 - int(name.split(".")[3]) if "blocks" in name else 0
        assert group["lr"] == pytest.approx(0.1 * scale * 0.5**depth), name
        assert group["weight_decay"] == (0.0 if group["exempt"] else decay), name


@pytest.mark.parametrize(
    ("own", "where", "hint"),
    [
        (("network.encodr.*",), "training.parameter_groups.0.parameters", "network.encoder"),
        (("network.*", "network.encoder.*"), "training.parameter_groups.1.parameters", "the first group that matches"),
        (("targets.teacher.*",), "training.parameter_groups.0.parameters", "similar names"),
    ],
)
def test_a_group_without_parameters_is_refused_with_near_names(own, where, hint):
    with pytest.raises(SpecError, match=f"no trainable parameter belongs to the group '{re.escape(own[-1])}'") as found:
        build_learner(experiment(parameter_groups=tuple(ParameterGroup(parameters=one) for one in own)))
    assert found.value.where == where
    assert hint in found.value.hint
    assert len(found.value.hint) < 200


def test_freezing_everything_is_refused():
    with pytest.raises(SpecError, match="all parameters are frozen"):
        build_learner(experiment(parameter_groups=(ParameterGroup(parameters="*", frozen_steps=None),)))


@pytest.mark.parametrize(
    ("field", "value"), [("learning_rate_scale", 0.0), ("weight_decay", -0.1), ("frozen_steps", -1)]
)
def test_settings_of_a_group_that_are_out_of_range_are_refused(field, value):
    with pytest.raises(SpecError, match=f"ParameterGroup.{field} must be"):
        ParameterGroup(parameters="*", **{field: value})


@pytest.mark.parametrize("field", ["learning_rate", "weight_decay", "betas", "epsilon"])
def test_fields_that_moved_to_the_optimizer_are_named(field):
    with pytest.raises(SpecError) as found:
        Training(steps=1, batch=BatchSize.samples(1), **{field: 0.1})
    assert found.value.hint == f"{field} is optimizer.{field} now"
    with pytest.raises(SpecError) as found:
        experiment().evolve(**{f"training.{field}": 0.1})
    assert found.value.where == f"training.{field}"
    assert found.value.hint == f"{field} is optimizer.{field} now"


# ── A step's rates ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_weight_decay_schedule_is_dinos():
    """DINO's cosine_scheduler(0.04, 0.4), whose last value is that of one step after the last."""
    made = trainer(
        steps=11,
        optimizer=AdamW(learning_rate=0.1, weight_decay=0.4),
        weight_decay_schedule=Cosine(initial=0.1, final=1.0),
        schedule=Constant(),
        parameter_groups=(ParameterGroup(parameters="network.encoder.*", weight_decay=0.2),),
    )
    theirs = 0.4 + 0.5 * (0.04 - 0.4) * (1 + torch.cos(torch.pi * torch.arange(11) / 10))
    for decay in theirs.tolist():
        metrics = step(made)
        assert metrics["train/weight_decay"] == pytest.approx(decay)
        assert metrics["train/learning_rate"] == 0.1
        for group in made.optimizer.param_groups:
            own = 0.5 if any(name.startswith("network.encoder") for name in group["param_names"]) else 1.0
            assert group["weight_decay"] == pytest.approx(0.0 if group["exempt"] else own * decay)
    assert "train/weight_decay" not in step(trainer())


def test_the_logged_rate_is_unscaled():
    made = trainer(layer_decay=0.5, schedule=Cosine(warmup_steps=4))
    assert [step(made)["train/learning_rate"] for _ in range(4)] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert {group["lr"] for group in made.optimizer.param_groups} == {0.1 * 0.5**depth for depth in range(5)}


# ── Frozen parts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_frozen_for_the_whole_run_has_no_gradient_and_no_state_and_does_not_change():
    frozen = ParameterGroup(parameters="network.encoder.*", frozen_steps=None)
    made = trainer(parameter_groups=(frozen,))
    parameters = dict(made.learner.named_parameters())
    assert not any(parameters[name].requires_grad for name in ENCODER)
    before = weights(made)
    step(made)
    assert changed(before, weights(made)) == {n for n in before if not n.startswith("targets.")} - ENCODER
    named = {name.rpartition("/")[0] for name, _ in named_optimizer_state(made.optimizer, made.learner)}
    assert named & ENCODER == set()


def test_what_is_frozen_at_first_starts_afterwards_as_if_its_optimizer_were_new():
    """Neither its gradient in the frozen steps nor its weight decay moves it or the optimizer's state."""
    late = ParameterGroup(parameters="network.encoder.*", frozen_steps=2)
    made = trainer(parameter_groups=(late,), schedule=Constant(), max_grad_norm=1.0)
    for _ in range(2):
        before = weights(made)
        step(made)
        assert changed(before, weights(made)) & ENCODER == set()
        assert not any(
            name.startswith("network.encoder") for name, _ in named_optimizer_state(made.optimizer, made.learner)
        )
    before = weights(made)
    step(made)
    assert changed(before, weights(made)) >= ENCODER
    for name, value in named_optimizer_state(made.optimizer, made.learner):
        if name.endswith("/step"):
            assert value.item() == (1 if name.startswith("network.encoder") else 3)


def test_gradients_of_frozen_steps_are_dropped_before_the_norm_is_clipped():
    """The step is that of a network whose encoder has no gradient at all: the norm is of the rest."""
    ends = []
    for steps in (1, None):
        own = ParameterGroup(parameters="network.encoder.*", frozen_steps=steps)
        made = trainer(parameter_groups=(own,), max_grad_norm=1e-3, schedule=Constant())
        ends.append((step(made)["train/gradient_norm"], weights(made)))
    assert ends[0][0] == ends[1][0] > 1e-3
    assert changed(ends[0][1], ends[1][1]) == set()


# ── Checkpoints ───────────────────────────────────────────────────────────────────────────────────────────────────────


def moved(first: Trainer, second: Trainer, folder: Path) -> None:
    """Moves the state of one trainer into another by a checkpoint."""
    writer = checkpoint.Writer(folder, World())
    writer.begin(first.learner, first.optimizer, first.step, {})
    writer.finish()
    writer.close()
    written = checkpoint.of_step(folder)
    checkpoint.load(written, second.learner, second.optimizer)
    second.step = written.step


class Odd(torch.optim.Optimizer):
    """An optimizer whose state has other types and shapes than its parameters."""

    def __init__(self, groups):
        super().__init__(groups, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in (one for one in group["params"] if one.grad is not None):
                state = self.state[parameter]
                if not state:
                    state.update(count=torch.tensor(2**30, dtype=torch.int64), rows=torch.zeros(7), none=None)
                    state.update(half=torch.zeros_like(parameter, dtype=torch.bfloat16))
                state["count"] += 1
                state["rows"] += 0.5
                state["half"] += parameter.grad
                parameter.sub_(parameter.grad, alpha=group["lr"] / (state["count"].item() - 2**30))


def test_state_of_any_type_and_shape_comes_back_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(AdamW, "build", lambda self, groups: Odd(groups))
    late = (ParameterGroup(parameters="network.encoder.*", frozen_steps=2),)
    first, second = (trainer(parameter_groups=late, schedule=Constant()) for _ in range(2))
    step(first)
    moved(first, second, tmp_path)
    named = [dict(named_optimizer_state(one.optimizer, one.learner)) for one in (first, second)]
    assert named[0].keys() == named[1].keys() != set()
    for name, value in named[0].items():
        other = named[1][name]
        assert (other.dtype, other.shape, other.device) == (value.dtype, value.shape, value.device), name
        assert torch.equal(other, value), name
    for _ in range(3):
        assert step(first) == step(second)
    assert changed(weights(first), weights(second)) == set()


def test_adamw_still_is_pytorchs_over_two_sets_of_parameters():
    """As it was before optimizers were components: one set with weight decay, one without."""
    made = trainer(schedule=Constant(), optimizer=AdamW(learning_rate=0.01, weight_decay=0.2, betas=(0.8, 0.9)))
    copy = build_learner(made.experiment)
    spared = {name for group in made.optimizer.param_groups if group["exempt"] for name in group["param_names"]}
    sets = [
        [p for n, p in copy.named_parameters() if p.requires_grad and (n in spared) is own] for own in (False, True)
    ]
    sets = [{"params": sets[0]}, {"params": sets[1], "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(sets, lr=0.01, weight_decay=0.2, betas=(0.8, 0.9), eps=1e-6, fused=True)
    reference = Trainer(made.experiment, copy, torch.device("cpu"))
    reference.optimizer = theirs
    for group in theirs.param_groups:
        group |= {"learning_rate_scale": 1.0, "frozen_steps": 0}
    for _ in range(3):
        step(made), step(reference)
    assert changed(weights(made), weights(reference)) == set()


@attrs.frozen(kw_only=True)
class Falling(Schedule):
    """Falls through 0.

    Attributes:
        value: the factor.
    """

    value: float

    def at(self, step: int, steps: int) -> float:
        return self.value


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["schedule", "weight_decay_schedule"])
def test_a_factor_that_is_none_is_the_schedules_fault(value, field):
    with pytest.raises(SpecError, match=r"Falling.at\(0, 10\) is") as caught:
        step(trainer(**{field: Falling(value=value)}))
    assert "finite" in caught.value.hint
