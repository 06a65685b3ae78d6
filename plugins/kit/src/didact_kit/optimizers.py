"""The rules for optimizers, checked on the parameters of a tiny learner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from didact.contracts.targets import TeacherModule
from didact.loop.faults import Snapshot
from didact.loop.trainer import Trainer
from didact.machine.distributed import World
from didact.optimization import KEYS, build_optimizer, set_rates
from didact_kit.closeness import assert_close
from didact_kit.examples import Case
from didact_kit.learning import check_checkpoint as check_resuming
from didact_kit.processes import pair, ready, trained, updated
from didact_kit.rules import NotJudged, place_of
from didact_kit.simulation import HostRead, SimulatedGPU

DECAY = 0.1


def check_groups(case: Case) -> None:
    """Checks that each parameter is in one group, with the keys of its own group, and that ``lr`` scales its step."""
    trainer = ready(case)
    groups, own = trainer.optimizer.param_groups, dict(trained(trainer))
    held = Counter(parameter for group in groups for parameter in group["params"])
    wrong = [name for name, parameter in own.items() if held[parameter] != 1]
    assert not wrong, f"{wrong[0]} is in {held[own[wrong[0]]]} groups of param_groups"
    missing = [key for key in (*KEYS, "lr") for group in groups if key not in group]
    assert not missing, f"a group lacks {missing[0]!r}, which `build` was given"
    before = _copied(trainer)
    for group in groups:
        group["lr"] = 0.0
    trainer.optimizer.step()
    moved = _moved(trainer, before)
    assert not moved, f"with lr=0 in every group, a step changed {moved[0]}"
    if len(groups) < 2 or not case.spec.learning_rate:
        return
    for group in groups[1:]:
        group["lr"] = case.spec.learning_rate
    for _ in range(2):  # some optimizers do not move in their first step
        trainer.optimizer.step()
    moved, first = _moved(trainer, before), {id(parameter) for parameter in groups[0]["params"]}
    still = [name for name, parameter in own.items() if id(parameter) in first]
    strange = [name for name in moved if name in still]
    assert not strange, f"with lr=0 in its own group alone, a step changed {strange[0]}"
    idle = sorted(own.keys() - set(still) - set(moved))
    assert not idle, f"with lr=0 in another group alone, two steps did not change {idle[0]}"


def check_steps(case: Case) -> None:
    """Checks that a step changes each parameter that has a gradient, visibly, and no other."""
    trainer = ready(case)
    still = [name for name, _ in trained(trainer)][::2]
    snapshot, before = Snapshot(trainer.learner, trainer.optimizer, spared=TeacherModule), _copied(trainer)
    for name, parameter in trained(trainer):
        parameter.grad = None if name in still else parameter.grad
    for _ in range(2):  # some optimizers do not move in their first step
        snapshot.take()
        trainer.optimizer.step()
    moved = _moved(trainer, before)
    strange = [name for name in moved if name in still]
    assert not strange, f"a step changed {strange[0]}, which has no gradient"
    idle = sorted(before.keys() - set(moved) - set(still))
    assert not idle, f"two steps did not change {idle[0]}, which has a gradient"
    assert not snapshot.restore(), "a step is not visible: it increments the version of no parameter and of no state"


def check_waits(case: Case) -> None:
    """Checks that a step reads no value of a simulated GPU on the host: it would wait for the GPU."""
    ready(case).optimizer.step()  # other errors are raised here
    trainer = ready(case)
    with SimulatedGPU() as gpu:
        gpu.moved(trainer.learner)
        optimizer = build_optimizer(case.experiment.training, trainer.learner)
        set_rates(optimizer, case.experiment.training, 0)
        for _, parameter in trained(trainer):
            parameter.grad = torch.empty_like(parameter)
        try:
            for _ in range(2):
                optimizer.step()
        except HostRead as read:
            raise AssertionError(
                f"the host reads a value of a tensor on the GPU: {read}, at {place_of(read)}"
            ) from None
        except (RuntimeError, TypeError) as error:
            raise NotJudged(f"it does not run on a simulated GPU: {str(error).splitlines()[0]}") from error


def check_decay(case: Case) -> None:
    """Checks that without gradients, weight decay shrinks the parameters that it applies to, and nothing else moves."""
    trainer = ready(case)
    groups = trainer.optimizer.param_groups
    held = {parameter for group in groups if not group["exempt"] for parameter in group["params"]}
    decayed = {name for name, parameter in trained(trainer) if parameter in held}
    for group in groups:
        group["weight_decay"] = 0.0 if group["exempt"] else DECAY
    for _, parameter in trained(trainer):
        parameter.grad = torch.zeros_like(parameter)
    before = _copied(trainer)
    trainer.optimizer.step()
    strange = [name for name in _moved(trainer, before) if name not in decayed]
    assert not strange, f"a gradient of zeros changed {strange[0]}, which is exempt from weight decay"
    grown = [name for name, now in trained(trainer) if name in decayed and not now.norm() < before[name].norm()]
    assert not grown, f"with a gradient of zeros, a weight_decay of {DECAY} in its group does not shrink {grown[0]}"


def check_checkpoint(case: Case) -> None:
    """Checks that the state is tensors, and that a run that loads a checkpoint continues as the one that wrote it."""
    trainer = ready(case)
    trainer.optimizer.step()
    for state in trainer.optimizer.state.values():
        for key, value in state.items():
            right = value is None or isinstance(value, Tensor)
            assert right, f"its state {key!r} is {value!r}, and checkpoints hold tensors"
    check_resuming(case)


def check_processes(case: Case) -> None:
    """Checks that two processes that share each parameter (FSDP2) take the steps of one."""
    ours = updated(case, World())
    for rank, theirs in enumerate(pair().updates(case)):
        for name, tensor in ours.items():
            assert_close(theirs[name], tensor, f"{name} after two steps on process {rank} of two", tolerance=1e-5)


def _copied(trainer: Trainer) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trained(trainer)}


def _moved(trainer: Trainer, before: Mapping[str, Tensor]) -> list[str]:
    return [name for name, parameter in trained(trainer) if not torch.equal(parameter, before[name])]
