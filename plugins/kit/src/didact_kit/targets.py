"""The rules that every target builder must follow."""

from __future__ import annotations

import torch

from didact.contracts.network import Network
from didact.learner import Learner
from didact.tensors import Batch, StudentPass, Target
from didact_kit.closeness import assert_close, assert_finite, assert_states, persistent
from didact_kit.examples import Case
from didact_kit.rules import NotJudged
from didact_kit.state import check_steps as check_repeats


@torch.no_grad()
def check_shapes(case: Case) -> None:
    """Checks that targets have the shapes and types of `Target`, and the module's width."""
    learner = case.learner()
    module = learner.targets
    assert isinstance(module.width, int), f"width must be an int, got {module.width!r}"
    batch = case.batch()
    passes = learner.passes(batch)
    targets = module(batch, passes, learner.network)
    assert len(targets) >= 1, "there is no target"
    for target in targets:
        _check_target(target, passes, batch.ids.shape[0], module.width)


@torch.no_grad()
def check_declaration(case: Case) -> None:
    """Checks that targets are of the kind and the level that the module declares, from views and fields that exist."""
    learner, batch = case.learner(), case.batch()
    module = learner.targets
    for target in module(batch, learner.passes(batch), learner.network):
        kind = "vectors" if target.values.is_floating_point() else "ids"
        assert kind == module.kind, (
            f"the module declares kind={module.kind!r}, and its values are {target.values.dtype}"
        )
        assert target.level == module.level, (
            f"the module declares level={module.level!r}, and a target has the level {target.level!r}"
        )
        if kind == "vectors":
            width = target.values.shape[-1]
            assert width == module.width, f"the module declares width={module.width}, and its vectors have {width}"
    views = len(batch.views)
    encoded = list(case.spec.student_views(views))
    wrong = [index for index in encoded if index not in range(views)]
    assert encoded, "student_views is empty: the student encodes no view"
    assert not wrong, f"student_views names view {wrong[0]} of {views}"
    fields = case.samples.fields
    for name, field in case.spec.fields().items():
        assert name in fields, f"it asks for the field {name!r}, and the samples of its example have {sorted(fields)}"
        assert field == fields[name], f"it describes the field {name!r} as {field}, and the samples as {fields[name]}"


@torch.no_grad()
def check_padding(case: Case) -> None:
    """Checks that a sample's targets do not depend on longer samples beside it."""
    learner = case.learner().eval()
    together = case.batch(range(3))
    if together.views[0].padding is None:
        raise NotJudged("the example's samples are of one size")
    whole = _targets(learner, together)
    for index in range(3):
        alone = _targets(learner, case.batch([index]))
        for mine, its in zip(whole, alone, strict=True):
            own = mine.values[index]  # (T, D), (T,), (D,) or (), by level and kind
            own = own[: its.values.shape[1]] if its.level == "position" else own
            assert_close(own, its.values[0], "targets of a sample beside longer ones and alone")


@torch.no_grad()
def check_mask(case: Case) -> None:
    """Checks that targets do not depend on the mask."""
    if case.example.sees_mask:
        raise NotJudged("the example says sees_mask=True")
    learner = case.learner().eval()
    if case.experiment.masker is None:
        raise NotJudged("the experiment has no masker")
    one, other = (case.batch(draw=draw) for draw in range(2))
    passes = learner.passes(one)
    targets = learner.targets(one, passes, learner.network)
    for mine, its in zip(targets, _targets(learner, other), strict=True):
        assert_close(_real(mine, passes), _real(its, passes), "targets of the same samples with two masks")


def check_gradients(case: Case) -> None:
    """Checks that no gradient flows through targets, unless the example sets ``learns``."""
    if case.example.learns:
        raise NotJudged("the example says learns=True")
    learner = case.learner()
    for target in _targets(learner, case.batch()):
        assert not target.values.requires_grad, f"the target of view {target.view} carries a gradient"


def check_modes(case: Case) -> None:
    """Checks that a network of the target builder's own stays in evaluation mode while the student trains."""
    learner = case.learner().train()
    own = learner.targets.evaluated_network(learner.network)
    if own is learner.network:
        raise NotJudged("it has no network of its own")
    held = set(learner.targets.modules()) - set(learner.network.modules())  # the network may be put together anew
    training = [name for name, child in own.named_modules() if child.training and child in held]
    assert not training, f"{training[-1] or 'its network'} is in training mode, as the learner is"


def check_steps(case: Case) -> None:
    """Checks that state changes in ``after_step``, once per optimizer step, and never in ``forward``."""
    learner = case.learner().train()
    module, network = learner.targets, learner.network
    before = {name: value.clone() for name, value in persistent(module).items()}
    batch = case.batch()
    passes = learner.passes(batch)
    module(batch, passes, network)
    module(batch, passes, network)
    assert_states(persistent(module), before, "forward changed what a checkpoint holds")
    scalars = module.after_step(network, 1, 10)
    wrong = {
        name: value
        for name, value in scalars.items()
        if not isinstance(value, float) and getattr(value, "shape", None) != ()
    }
    assert not wrong, f"after_step must return floats or scalar tensors, got {wrong}"
    state = module.evaluated_network(network)
    assert isinstance(state, Network), f"evaluated_network must return a Network, got {type(state).__name__}"
    check_repeats(case)


def _targets(learner: Learner, batch: Batch) -> tuple[Target, ...]:
    targets: tuple[Target, ...] = learner.targets(batch, learner.passes(batch), learner.network)
    return targets


def _check_target(target: Target, passes: tuple[StudentPass, ...], samples: int, width: int) -> None:
    assert 0 <= target.view < len(passes), f"a target names view {target.view} of {len(passes)}"
    positions = passes[target.view].view.layout.positions
    values, got = target.values, tuple(target.values.shape)
    if target.level == "sequence":
        assert values.dtype == torch.int64, f"sequences hold ids, which must be int64, got {values.dtype}"
        assert values.ndim == 2 and got[0] == samples, f"sequences are {got}, and must be ({samples}, L)"  # noqa: PT018
        assert bool((values >= -1).all()), f"ids must not be negative, except the padding -1, got {int(values.min())}"
        assert bool((values < width).all()), f"ids must be below width ({width}), got {int(values.max())}"
        return
    leading = (samples, positions) if target.level == "position" else (samples,)
    if values.is_floating_point():
        assert got == (*leading, width), f"values are {got}, and must be {(*leading, width)}"
        assert values.dtype == torch.float32, f"values must be float32, got {values.dtype}"
        assert_finite(values, "targets")
    else:
        assert values.dtype == torch.int64, f"ids must be int64, got {values.dtype}"
        assert got == leading, f"ids are {got}, and must be {leading}"
        assert int(values.min()) >= 0, f"ids must not be negative, got {int(values.min())}"
        assert int(values.max()) < width, f"ids must be below width ({width}), got {int(values.max())}"


def _real(target: Target, passes: tuple[StudentPass, ...]) -> torch.Tensor:
    """A target's values (B, T, D) or (B, D), zero at padding."""
    padding = passes[target.view].view.padding
    values = target.values.float()
    if padding is None or target.level == "sample":
        return values
    return values.masked_fill(padding.reshape(*padding.shape, *[1] * (values.ndim - 2)), 0)
