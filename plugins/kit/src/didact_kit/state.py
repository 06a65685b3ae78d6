"""The rules about state: when it may change, and that a teacher's follows the student's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from didact.contracts.network import Network
from didact.contracts.targets import ObjectiveModule, TargetBuilderModule
from didact.learner import Learner
from didact.randomness import seed_step
from didact.tensors import Batch, Loss, StudentPass, Target
from didact_kit.closeness import assert_finite, assert_states, persistent, statistics
from didact_kit.examples import SEED, Case
from didact_kit.rules import NotJudged, place_of
from didact_kit.watching import Held, same

PASSES = 6  # a counter of a period up to this shows within so many passes
COUNTS = (5, 12)  # values of an integer buffer before and after steps of the student; any average lies between them


def check_buffers(case: Case) -> None:
    """Checks that a pass in evaluation mode changes no buffer, and that an objective's pass in training changes none.

    Running statistics of norms move in training mode, and buffers that a checkpoint does not hold may.
    """
    learner, batch = case.learner(), case.batch()
    module = case.module(learner)
    if case.kind == "objective":  # the rule `steps` looks at targets
        norms = statistics(module)
        before = {name: value.clone() for name, value in persistent(module).items() if name not in norms}
        _pass(learner.train(), batch)
        _require_unmoved(module, before, "a forward pass in training mode")
    before = {name: value.clone() for name, value in module.named_buffers()}
    with torch.no_grad():
        _pass(learner.eval(), batch)
    _require_unmoved(module, before, "a forward pass in evaluation mode")
    if case.kind == "target-builder":
        check_following(case)


def check_following(case: Case) -> None:
    """Checks that a teacher follows the student: all weights or none, equal counts, and closer statistics."""
    learner = case.learner()
    network = learner.network
    for part in (network.encoder, network.backbone):
        part.add_module("kit_norm", nn.BatchNorm1d(4))
        part.register_buffer("kit_count", torch.tensor(COUNTS[0]))
    _fill(network, COUNTS[0], 0.0)
    targets: TargetBuilderModule = case.experiment.targets.build(network)
    network = _stepped(targets, network)
    own = targets.evaluated_network(network)
    if own is network:
        if case.kind == "target-builder":
            return
        raise NotJudged("it has no network of its own")
    weights = {name: value.clone() for name, value in own.named_parameters()}
    before = {name: value.clone() for name, value in own.named_buffers()}
    for step in range(2, 5):
        _fill(network, COUNTS[1], 1.0)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1)
        _after(targets, network, step)
    own = targets.evaluated_network(network)
    still = [name for name, value in own.named_parameters() if torch.equal(value, weights[name])]
    if len(still) == len(weights):
        if case.kind == "target-builder":
            return
        raise NotJudged("its weights do not follow the student's")
    trained = {name for name, value in network.named_parameters() if value.requires_grad}
    still = [name for name in still if name in trained]
    assert not still, f"{still[0] if still else ''} stays as it was, while the student's and other weights move"
    student = dict(network.named_buffers())
    for name, value in own.named_buffers():
        its = student.get(name, value)  # a buffer of the teacher alone follows nothing
        if not value.is_floating_point():
            assert torch.equal(value, its), (
                f"the integer buffer {name} is {value.tolist()} after steps in which the student's is {its.tolist()}"
            )
        elif not torch.equal(value, its):
            left, was = ((its - one).abs().max() for one in (value, before[name]))
            assert bool(left < was), (
                f"the buffer {name} does not follow the student's, which moved by {float(was):.3g}: "
                f"{float(left):.3g} is left after three steps"
            )


def check_steps(case: Case) -> None:
    """Checks that forward passes give one result until ``after_step``, and that steps are a function of the batches."""
    learner, batch = case.learner().train(), case.batch()
    learner.network.eval()
    passes = learner.passes(batch)
    first: Any = None
    for number in range(1, PASSES + 1):
        result = _results(case, learner, batch, passes)
        first = first if first is not None else result
        for name, value in result.items():
            assert same(value, first[name]), f"{name} of pass 1 and of pass {number} over one batch differ"
    states = [_after_some_steps(case) for _ in range(2)]
    assert_states(states[0], states[1], f"after {PASSES} steps on the same batches, twice")


def _after_some_steps(case: Case) -> Mapping[str, Tensor]:
    """Returns the state after some steps, each of which must return scalars and change no student."""
    learner = case.learner()
    module = case.module(learner)
    before = {name: value.dtype for name, value in persistent(module).items()}
    for number in range(PASSES):
        step = case.step(number)
        learner.train()
        seed_step(SEED, number)
        _pass(learner, step.parts[0])
        held = Held(learner.network, "the student")
        scalars = learner.after_step(number + 1, PASSES)
        changed = next(held.changes(), None)
        assert changed is None, f"after_step: {changed}"
        wrong = {name: one for name, one in scalars.items() if not isinstance(one, float) and _shape(one) != ()}
        assert not wrong, f"after_step must return floats or scalar tensors, got {wrong}"
    state = persistent(module)
    for name, value in state.items():
        assert value.dtype == before[name], f"{PASSES} steps made {name} {value.dtype}, from {before[name]}"
        if value.is_floating_point():
            assert_finite(value, f"{name} after {PASSES} steps")
    return state


def _results(case: Case, learner: Learner, batch: Batch, passes: tuple[StudentPass, ...]) -> dict[str, Tensor]:
    """The target values, and the terms and scalars of an objective; tensors of any shape, by name."""
    seed_step(SEED, 0)
    targets: tuple[Target, ...] = learner.targets(batch, passes, learner.network)
    found = {f"target {number}": target.values.detach() for number, target in enumerate(targets)}
    if case.kind == "objective":
        assert isinstance(learner.objective, ObjectiveModule)
        loss: Loss = learner.objective(batch, passes, targets)
        found = {f"the term {name}": term.detach() for name, term in loss.terms.items()}
        found |= {f"the scalar {name}": scalar for name, scalar in loss.scalars.items()}
    return found


def _pass(learner: Learner, batch: Batch) -> None:
    learner(batch, learner.objective.num_targets(batch))


def _require_unmoved(module: nn.Module, before: Mapping[str, Tensor], when: str) -> None:
    now = dict(module.named_buffers()) | dict(module.named_parameters())
    moved = [name for name, value in before.items() if name not in now or not same(now[name], value)]
    assert not moved, f"{when} changed {moved[0]}"


def _fill(network: Network, count: int, value: float) -> None:
    """Sets all buffers of the student, as its steps would."""
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name.endswith(("kit_count", "num_batches_tracked")):
                buffer.fill_(count)
            elif name.endswith(("kit_norm.running_mean", "kit_norm.running_var")):
                buffer.fill_(1.0 + value)


def _stepped(targets: TargetBuilderModule, network: Network) -> Network:
    _after(targets, network, 1)
    return network


def _after(targets: TargetBuilderModule, network: Network, step: int) -> None:
    try:
        targets.after_step(network, step, 10)
    except Exception as error:  # foreign code
        raise AssertionError(
            f"after_step fails where the student has integer buffers and running statistics: "
            f"{type(error).__name__}: {str(error).splitlines()[0]} ({place_of(error)})"
        ) from error


def _shape(value: Any) -> Any:
    return getattr(value, "shape", None)
