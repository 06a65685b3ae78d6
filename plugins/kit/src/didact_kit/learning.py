"""The rules for every part with weights, checked in a learner whose other parts come from the example."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from didact.learner import Learner
from didact.loading import StepBatch
from didact.loop.trainer import Trainer
from didact.machine.distributed import World
from didact.record import checkpoint
from didact.tensors import Batch, move
from didact_kit.closeness import assert_close, assert_states, persistent, untouched_randomness
from didact_kit.examples import SEED, Case
from didact_kit.objectives import check_split
from didact_kit.processes import gradients, pair
from didact_kit.rules import NotJudged

PARTS = {
    "feature-encoder": "network.encoder",
    "backbone": "network.backbone",
    "target-builder": "targets",
    "teacher": "targets.teacher",
    "objective": "objective",
}


def check_determinism(case: Case) -> None:
    """Checks that one seed gives one initialisation and one loss, and that evaluation mode draws nothing global."""
    learner, again = case.learner(), case.learner()
    assert_states(persistent(learner), persistent(again), "built twice under one seed")
    batch = case.batch()
    counts = learner.objective.num_targets(batch)
    losses = []
    for one in (learner, again):
        torch.manual_seed(SEED)
        losses.append(_loss(one.train(), batch))
    assert_close(losses[0], losses[1], "the losses of two steps under one seed", tolerance=0.0)
    if case.kind != "objective":
        learner.eval()
        with untouched_randomness("in evaluation mode"), torch.no_grad():
            learner(batch, counts)


def check_difference(case: Case) -> None:
    """Checks that another seed gives another initialisation."""
    one, other = (case.learner(seed).get_submodule(PARTS[case.kind]) for seed in (SEED, SEED + 1))
    matrices = [name for name, parameter in one.named_parameters() if parameter.ndim >= 2 and parameter.numel() > 1]
    if not matrices:
        raise NotJudged("it has no weight matrices")
    theirs = dict(other.named_parameters())
    same = all(torch.equal(parameter, theirs[name]) for name, parameter in one.named_parameters() if name in matrices)
    assert not same, f"all of its {len(matrices)} weight matrices are initialised alike under two seeds"


def check_checkpoint(case: Case) -> None:
    """Checks that a learner that loads a checkpoint continues as the learner that wrote it."""
    first = Trainer(case.experiment, case.learner(), torch.device("cpu"))
    steps = [_step_batch(case, step) for step in range(4)]
    for step in steps[:2]:
        first.take_step(step)
    second = Trainer(case.experiment, case.learner(SEED + 1), torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        writer = checkpoint.Writer(Path(folder), World())
        writer.begin(first.learner, first.optimizer, first.step, {})
        writer.finish()
        writer.close()
        written = checkpoint.of_step(Path(folder))
        checkpoint.load(written, second.learner, second.optimizer)
        second.step = written.step
    assert_states(persistent(second.learner), persistent(first.learner), "written and read")
    for step in steps[2:]:
        one, other = (float(trainer.take_step(step)["train/loss"]) for trainer in (first, second))
        assert one == other, f"step {step.step + 1} after the checkpoint has the loss {other:.9g} instead of {one:.9g}"
    assert_states(persistent(second.learner), persistent(first.learner), "two steps after the checkpoint")


def check_skipping(case: Case) -> None:
    """Checks that a skipped step that was not finite leaves nothing behind: its forward pass is undone."""
    one, other = (Trainer(case.experiment, case.learner(), torch.device("cpu")) for _ in range(2))
    left_out, *steps = (_step_batch(case, step) for step in (2, 0, 1))
    one.before.take()
    one.learner.train()
    _loss(one.learner, left_out.parts[0])
    one.before.restore()
    for step in steps:
        after, without = (float(trainer.take_step(step)["train/loss"]) for trainer in (one, other))
        assert after == without, f"after a step that was left out, the loss is {after:.9g} instead of {without:.9g}"
    assert_states(persistent(one.learner), persistent(other.learner), "after a step that was left out, and without it")


def check_compilation(case: Case) -> None:
    """Checks that a backbone compiled block by block, as by ``training.compile``, gives the same loss and gradients.

    The graph is captured and differentiated (``aot_eager``). No kernel is generated, which would take a minute.
    """
    eager, compiled = case.learner().eval(), case.learner().eval()
    batch = case.batch()
    counts = eager.objective.num_targets(batch)
    torch._dynamo.reset()
    try:
        for block in compiled.network.backbone.blocks:
            block.compile(backend="aot_eager")
        losses = [learner(batch, counts)[0] for learner in (eager, compiled)]
        for loss in losses:
            loss.backward()
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
    learner, batch = case.learner().eval(), case.batch()
    counts = learner.objective.num_targets(batch)
    with torch.no_grad():
        learner(batch, counts)  # errors unrelated to devices are raised here
    device = torch.device("cuda")
    if torch.cuda.is_available():
        loss, _ = learner.to(device)(move(batch, device), counts)
    else:
        loss = _on_simulated_gpu(learner, batch, counts)
    assert loss.device.type == "cuda", f"the loss is on {loss.device}, and the weights and the input are on a GPU"


def _on_simulated_gpu(learner: Learner, batch: Batch, counts: Mapping[str, int]) -> Tensor:
    """Computes the loss, a scalar, with fake tensors of PyTorch, which have shapes and devices, but no values.

    Raises:
        AssertionError: an operation mixes tensors of two devices.
        NotJudged: a result depends on a value.
    """
    device = torch.device("cuda")
    with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True):
        # `randomness.uniform` reads keys with NumPy, which gets arbitrary numbers here
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        for module in learner.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    moved = torch.empty_like(parameter, device=device)
                    module._parameters[name] = torch.nn.Parameter(moved, requires_grad=parameter.requires_grad)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = torch.empty_like(buffer, device=device)
        try:
            loss, _ = learner(move(batch, device), counts)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise NotJudged(f"it depends on values, which only a GPU can compute: {error.func}") from error
        except (RuntimeError, TypeError) as error:
            raise AssertionError(str(error).splitlines()[0]) from error
    on_gpu: Tensor = loss
    return on_gpu


def check_cost(case: Case) -> None:
    """Checks that a doubled batch costs at most twice as much. The cost counts numbers read and written, not time."""
    if case.kind == "objective" and not case.spec.supports_accumulation:
        raise NotJudged("its supports_accumulation is False: it may compare every sample with every other")
    learner = case.learner().eval()
    sizes = (4, 8, 16)
    costs = []
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
    ours, *theirs = gradients(case, range(4), World()), *pair().gradients(case)
    for rank, its in enumerate(theirs):
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


def _step_batch(case: Case, step: int) -> StepBatch:
    batch = case.batch(range(step, step + 4), draw=step)  # each step has a key of its own
    return StepBatch(step=step, epoch=0, parts=(batch,), samples=4, held=1, cells=1)


def _loss(learner: Learner, batch: Batch) -> Tensor:
    total: Tensor
    total, _ = learner(batch, learner.objective.num_targets(batch))
    return total.detach()
