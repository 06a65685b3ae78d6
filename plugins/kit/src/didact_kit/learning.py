"""The rules for every part with weights, checked in a learner whose other parts come from the example."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from didact.contracts.data import Source
from didact.learner import Learner
from didact.loading import StepBatch
from didact.machine.distributed import World
from didact.randomness import seed_step
from didact.record import checkpoint
from didact.tensors import Batch, move
from didact_kit.closeness import (
    assert_attributes,
    assert_close,
    assert_finite,
    assert_states,
    attributes,
    persistent,
    untouched_randomness,
)
from didact_kit.examples import SEED, Case
from didact_kit.objectives import check_split
from didact_kit.processes import BEFORE, built, elsewhere, gradients, importable, pair
from didact_kit.rules import NotJudged, place_of
from didact_kit.simulation import GPU, HostRead, SimulatedGPU

BEFORE_SKIP = 2  # steps before one that is skipped
LATE = 1_000_000  # a step that is later than any warm-up
PASSES = 6  # a counter of a period up to this shows within so many passes


def check_determinism(case: Case) -> None:
    """Checks that one seed gives one initialisation and one loss, here and in another process.

    In evaluation mode, nothing is drawn, and every pass gives the same loss.
    """
    learner, again = case.learner(), case.learner()
    assert_states(persistent(learner), persistent(again), "built twice under one seed")
    batch = case.batch()
    counts = learner.objective.num_targets(batch)
    losses = []
    for one in (learner, again):
        torch.manual_seed(SEED)
        with untouched_randomness("in training mode", but_torch=True):
            losses.append(_loss(one.train(), batch))
    assert_close(losses[0], losses[1], "the losses of two steps under one seed", tolerance=0.0)
    learner.eval()
    drawn = untouched_randomness("in evaluation mode") if case.kind != "objective" else contextlib.nullcontext()
    with drawn, torch.no_grad():
        losses = [learner(batch, counts)[0] for _ in range(PASSES)]
    for number, loss in enumerate(losses[1:], 2):
        assert_close(loss, losses[0], f"the losses of pass 1 and pass {number} in evaluation mode", tolerance=0.0)
    _check_elsewhere(case)


def _check_elsewhere(case: Case) -> None:
    """Checks that a process with another seed of ``hash`` builds the same weights and computes the same loss."""
    if not importable(case):
        return
    here, there = built(case), elsewhere(case)
    assert there.keys() == here.keys(), (
        f"another process builds other tensors: {sorted(there.keys() ^ here.keys())[:3]}"
    )
    for name, tensor in here.items():
        scale = max(1.0, float(tensor.double().abs().max())) if tensor.numel() else 1.0
        what = f"{name}, here and in another process"
        assert_close(there[name], tensor, what, tolerance=1e-4 * scale)


def check_difference(case: Case) -> None:
    """Checks that another seed gives another initialisation."""
    one, other = (case.module(case.learner(seed)) for seed in (SEED, SEED + 1))
    matrices = [name for name, parameter in one.named_parameters() if parameter.ndim >= 2 and parameter.numel() > 1]
    if not matrices:
        raise NotJudged("it has no weight matrices")
    theirs = dict(other.named_parameters())
    same = all(torch.equal(parameter, theirs[name]) for name, parameter in one.named_parameters() if name in matrices)
    assert not same, f"all of its {len(matrices)} weight matrices are initialised alike under two seeds"


@attrs.frozen(kw_only=True, eq=False)
class Reference:
    """An undisturbed run of some steps, with which others are compared.

    Attributes:
        steps: the batches of the steps.
        losses: the loss of each step.
        states: what a checkpoint holds after the first and after the last step.
        attributes: the numbers, lists and queues in attributes after the last step.
        evaluated: the loss in evaluation mode after the last step; it was computed before the first one, too.
        folder: the folder of the checkpoint after the first step.
    """

    steps: tuple[StepBatch, ...]
    losses: tuple[float, ...]
    states: tuple[Mapping[str, Tensor], Mapping[str, Tensor]]
    attributes: Mapping[str, Any]
    evaluated: float
    folder: tempfile.TemporaryDirectory[str]


def _reference(case: Case) -> Reference:
    """Returns the reference of a case, which is computed once."""
    if "reference" not in case.memory:
        trainer = case.trainer()
        steps = tuple(case.step(number) for number in range(2 + PASSES))
        before = _copy(trainer.learner)
        _evaluated(trainer.learner, steps[0].parts[0])
        trainer.learner.load_state_dict(before)  # the rule `buffers` reports those that move in evaluation mode
        losses = [float(trainer.take_step(steps[0])["train/loss"])]
        first = _copy(trainer.learner)
        folder = tempfile.TemporaryDirectory(prefix="didact-check-")
        writer = checkpoint.Writer(Path(folder.name), World())
        writer.begin(trainer.learner, trainer.optimizer, trainer.step, {})
        writer.finish()
        writer.close()
        losses += [float(trainer.take_step(step)["train/loss"]) for step in steps[1:]]
        case.memory["reference"] = Reference(
            steps=steps,
            losses=tuple(losses),
            states=(first, _copy(trainer.learner)),
            attributes=attributes(trainer.learner, trainer.optimizer),
            evaluated=_evaluated(trainer.learner, steps[0].parts[0]),
            folder=folder,
        )
    found: Reference = case.memory["reference"]
    return found


def check_checkpoint(case: Case) -> None:
    """Checks that a learner that loads a checkpoint continues as the learner that wrote it.

    The checkpoint is written after one step. A counter that it does not hold is then behind by one in all later steps,
    whatever its period.
    """
    reference, second = _reference(case), case.trainer(SEED + 1)
    (written,) = checkpoint.all_complete(Path(reference.folder.name))
    checkpoint.load(written, second.learner, second.optimizer)
    second.step = written.step
    assert_states(persistent(second.learner), reference.states[0], "written and read")
    for step, loss in zip(reference.steps[1:], reference.losses[1:], strict=True):
        other = float(second.take_step(step)["train/loss"])
        assert other == loss, f"step {step.step} after the checkpoint has the loss {other:.9g} instead of {loss:.9g}"
    what = f"{second.step - 1} steps after the checkpoint"
    assert_states(persistent(second.learner), reference.states[1], what)
    assert_attributes(attributes(second.learner, second.optimizer), reference.attributes, what)
    other = _evaluated(second.learner, reference.steps[0].parts[0])
    assert other == reference.evaluated, (
        f"the loss in evaluation mode is {other:.9g} instead of {reference.evaluated:.9g}, which is that of a learner "
        f"that was evaluated before its first step, too"
    )
    late = case.learner(SEED + 1)
    second.learner.after_step(LATE, 2 * LATE)
    late.load_state_dict(second.learner.state_dict())
    losses = []
    for learner in (late, second.learner):
        seed_step(SEED, LATE)
        losses.append(float(_loss(learner.train(), reference.steps[-1].parts[0])))
    assert losses[0] == losses[1], (
        f"after step {LATE:,}, the loss is {losses[1]:.9g}, and {losses[0]:.9g} of a learner that loads its checkpoint"
    )


def check_skipped(case: Case) -> None:
    """Checks that a skipped step, which was not finite, leaves nothing behind: its forward pass is undone.

    Several steps precede it and follow it: a counter of period 2 or 5, or a buffer that is replaced in ``after_step``,
    shows only then.
    """
    reference, trainer = _reference(case), case.trainer()
    steps = reference.steps
    for step in steps[:BEFORE_SKIP]:
        trainer.take_step(step)
    left_out = case.step(len(steps))
    trainer.before.take()
    trainer.learner.train()
    seed_step(SEED, len(steps))
    _total(trainer.learner, left_out.parts[0]).backward()  # type: ignore[no-untyped-call]
    trainer.before.restore()
    for step, without in list(zip(steps, reference.losses, strict=True))[BEFORE_SKIP:]:
        after, number = float(trainer.take_step(step)["train/loss"]), step.step - BEFORE_SKIP + 1
        assert after == without, (
            f"{number} steps after a skipped step, the loss is {after:.9g}, and {without:.9g} without the skipped step"
        )
    assert_states(persistent(trainer.learner), reference.states[1], "with a skipped step, and without it")
    assert_attributes(attributes(trainer.learner), reference.attributes, "with a skipped step")


def check_compilation(case: Case) -> None:
    """Checks that a backbone compiled block by block, as by ``training.compile``, gives the same loss and gradients.

    The graph is captured and differentiated (``aot_eager``). No kernel is generated, which would take a minute.
    """
    eager, compiled = case.learner().eval(), case.learner().eval()
    batch = case.batch()
    counts = eager.objective.num_targets(batch)
    losses = [eager(batch, counts)[0]]  # an error of every pass is raised here
    losses[0].backward()
    torch._dynamo.reset()
    try:
        for block in compiled.network.backbone.blocks:
            block.compile(backend="aot_eager")
        losses.append(compiled(batch, counts)[0])
        losses[1].backward()
    except Exception as error:  # PyTorch's compiler, or foreign code in it
        text = str(error).strip().partition(chr(10))[0]
        raise AssertionError(f"it fails when it is compiled: {type(error).__name__}: {text}") from error
    finally:
        torch._dynamo.reset()
    assert_close(losses[1], losses[0], "the loss, compiled and not")
    theirs = dict(compiled.named_parameters())
    for name, parameter in eager.named_parameters():
        one, other = parameter.grad, theirs[name].grad
        assert (one is None) == (other is None), f"a gradient reaches {name} only compiled, or only eagerly"
        if one is not None and other is not None:
            assert_close(other, one, f"the gradient of {name}, compiled and not", tolerance=1e-4)


def check_device(case: Case) -> None:
    """Checks that a part computes on the device of its weights and input: a GPU, or a simulated one without a GPU."""
    if torch.cuda.is_available():
        learner, batch = case.learner().eval(), case.batch()
        loss, _ = learner.to(GPU)(move(batch, GPU), learner.objective.num_targets(batch))
        assert loss.device.type == "cuda", f"the loss is on {loss.device}, and the weights and the input are on a GPU"
        return
    found = _simulated(case)
    if isinstance(found, HostRead):
        raise NotJudged(f"it reads a value of the GPU, which the rule 'waits' reports: {found}")
    if isinstance(found, Exception):
        raise AssertionError(f"{str(found).splitlines()[0]} ({place_of(found)})") from found
    assert found == GPU.type, f"the loss is on {found}, and the weights and the input are on a GPU"


def check_waits(case: Case) -> None:
    """Checks that a training step reads no value of a simulated GPU on the host: it would wait for the GPU."""
    if case.kind == "source" and type(case.spec).finish is Source.finish:
        raise NotJudged("it does not override finish")
    found = _simulated(case)
    if isinstance(found, HostRead):
        raise AssertionError(f"a step reads a value of the GPU on the host: {found}, at {place_of(found)}")
    if isinstance(found, Exception):
        raise NotJudged(f"it does not run on a simulated GPU: {str(found).splitlines()[0]}") from found


def _simulated(case: Case) -> str | Exception:
    """Takes a step on a simulated GPU, once; returns the type of the loss's device, or the error."""
    if "simulated" not in case.memory:
        learner, batch = case.learner().train(), case.batch()
        counts = learner.objective.num_targets(batch)
        learner(batch, counts)  # errors unrelated to devices are raised here
        learner = case.learner().train()
        found: str | Exception
        with SimulatedGPU() as gpu:
            gpu.moved(learner)
            try:
                loss, _ = learner(move(batch, GPU), counts)
                learner.after_step(1, 10)
                found = loss.device.type
            except (HostRead, RuntimeError, TypeError) as error:
                found = error
        case.memory["simulated"] = found
    simulated: str | Exception = case.memory["simulated"]
    return simulated


def check_precision(case: Case) -> None:
    """Checks that a step in bfloat16, under autocast, does not fail, and that its terms are finite."""
    learner, batch = case.learner().train(), case.batch()
    counts = learner.objective.num_targets(batch)
    learner(batch, counts)  # errors that are not of this precision are raised here
    try:
        with torch.autocast("cpu", torch.bfloat16):
            total, loss = learner(batch, counts)
        total.backward()
    except (RuntimeError, TypeError) as error:
        raise AssertionError(f"{str(error).splitlines()[0]} ({place_of(error)})") from error
    for name, term in loss.terms.items():
        assert_finite(term, f"the term {name} in bfloat16")


def check_cost(case: Case) -> None:
    """Checks that a doubled batch costs at most twice as much. The cost counts numbers read and written, not time."""
    if case.kind == "objective" and not case.spec.supports_accumulation:
        raise NotJudged("its supports_accumulation is False: it may compare every sample with every other")
    learner = case.learner().eval()
    sizes = (4, 8, 16)
    costs = []
    with torch.no_grad():  # what the first pass makes, such as a table of position codes, costs once
        _total(learner, case.batch())
    for size in sizes:
        batch = case.batch([index % 4 for index in range(size)])  # the same four samples, so the same padding and masks
        with torch.no_grad(), _Work() as work:
            learner(batch, learner.objective.num_targets(batch))
        costs.append(work.numbers)
    quadratic = ((costs[2] - costs[1]) - 2 * (costs[1] - costs[0])) / 96  # of a + b·B + c·B²
    counted = ", ".join(f"{cost:,} numbers for {size}" for size, cost in zip(sizes, costs, strict=True))
    assert quadratic <= 1e-9 * costs[0], f"cost grows faster than the batch: {counted} samples"


def check_processes(case: Case) -> None:
    """Checks that two processes that share a batch get one process's gradients, and that their teachers stay equal."""
    if case.kind == "objective" and not case.experiment.needs_whole_batch():
        try:
            check_split(case)
        except AssertionError as error:
            raise NotJudged("its parts do not add up on one process either, which the rule 'split' reports") from error
    if case.draws and (whole := case.experiment.needs_whole_batch()):  # in evaluation mode, processes do not meet
        raise NotJudged(f"it draws in training, and {whole} computes a function of the whole batch only then")
    ours, *theirs = gradients(case, range(4), World(), training=not case.draws), *pair().gradients(case)
    for rank, its in enumerate(theirs):
        for name, weight in (item for item in ours.items() if item[0].endswith(BEFORE)):
            if name not in its or not torch.allclose(its[name], weight, atol=1e-5):
                raise NotJudged("it has other weights on another process, which the rule 'determinism' reports")
        assert its.keys() == ours.keys(), f"process {rank} has other tensors: {sorted(its.keys() ^ ours.keys())[:3]}"
        for name, tensor in ours.items():
            scale = max(1.0, float(tensor.double().abs().max())) if tensor.numel() else 1.0
            assert_close(its[name], tensor, f"{name} on process {rank} of two, and on one", tolerance=1e-4 * scale)


class _Work(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the numbers that all operations read and write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            touched = tree_leaves((args, kwargs, result))
            self.numbers += sum(tensor.numel() for tensor in touched if isinstance(tensor, Tensor))
        return result


def _loss(learner: Learner, batch: Batch) -> Tensor:
    return _total(learner, batch).detach()


def _copy(learner: Learner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in persistent(learner).items()}


def _evaluated(learner: Learner, batch: Batch) -> float:
    seed_step(SEED, 0)
    with torch.no_grad():
        return float(_loss(learner.eval(), batch))


def _total(learner: Learner, batch: Batch) -> Tensor:
    total: Tensor
    total, _ = learner(batch, learner.objective.num_targets(batch))
    return total
