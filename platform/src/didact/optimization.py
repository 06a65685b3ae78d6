"""The optimizer over a learner's parameters: its groups, the rates of a step, and its state in checkpoints."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from didact.contracts.network import BackboneModule
from didact.contracts.optimizer import ParameterGroup
from didact.errors import SpecError
from didact.schedules import Schedule
from didact.training import Training

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm, _NormBase)  # _NormBase: batch and instance norm
KEYS = ("weight_decay", "learning_rate_scale", "exempt", "in_blocks", "frozen_steps", "params")

Module = TypeVar("Module", bound=nn.Module)


def freeze(learner: Module, training: Training) -> Module:
    """Turns off the gradients of the parameters that are frozen for the whole run; returns the learner.

    Raises:
        SpecError: one of ``training.parameter_groups`` has no parameters, or everything is frozen.
    """
    trainable = {name: parameter for name, parameter in learner.named_parameters() if parameter.requires_grad}
    groups = [_group_of(name, training) for name in trainable]
    for number, group in enumerate(training.parameter_groups):
        if not any(group is own for own in groups):
            near = ", ".join(difflib.get_close_matches(group.parameters, trainable, n=3, cutoff=0.0))
            what = f"no trainable parameter belongs to the group {group.parameters!r}"
            hint = f"the first group that matches a name applies; similar names are {near}"
            raise SpecError(what, where=f"parameter_groups.{number}.parameters", hint=hint)
    if trainable and all(group.frozen_steps is None for group in groups):
        raise SpecError("all parameters are frozen", where="parameter_groups", hint="freeze only some of them")
    for parameter, group in zip(trainable.values(), groups, strict=True):
        parameter.requires_grad_(group.frozen_steps is not None)
    return learner


def build_optimizer(training: Training, learner: nn.Module) -> torch.optim.Optimizer:
    """Builds the optimizer over a learner's trainable parameters; see `Optimizer.build` for the groups."""
    exempt, student = undecayed(learner), cast(BackboneModule, learner.get_submodule("network.backbone"))
    layers = {parameter: number for number, block in enumerate(student.blocks, 1) for parameter in block.parameters()}
    backbones = (module for module in learner.modules() if isinstance(module, BackboneModule))
    in_blocks = {parameter for backbone in backbones for parameter in backbone.blocks.parameters()}
    groups: dict[tuple[Any, ...], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            own, top = _group_of(name, training), len(student.blocks) + 1
            layer = 0 if name.startswith("network.encoder.") else layers.get(parameter, top)  # as BEiT numbers them
            decay = training.optimizer.weight_decay if own.weight_decay is None else own.weight_decay
            scale = own.learning_rate_scale * training.layer_decay ** (top - layer)
            spared, in_block = name in exempt, parameter in in_blocks
            key = (0.0 if spared else decay, scale, spared, in_block, own.frozen_steps)
            groups.setdefault(key, []).append((name, parameter))
    return training.optimizer.build([dict(zip(KEYS, (*key, held), strict=True)) for key, held in groups.items()])


def undecayed(learner: nn.Module) -> set[str]:
    """Returns the names of the parameters that are exempt from weight decay.

    These are biases, the parameters of norms, and parameters that modules declare: a module may have a method
    ``no_weight_decay()``, as in timm, that returns names of its parameters, such as ``{"position_table"}``.
    """
    exempt = set()
    for place, module in learner.named_modules():
        prefix = f"{place}." if place else ""
        own = [name for name, _ in module.named_parameters(recurse=False)]
        exempt |= {prefix + name for name in own if name == "bias" or isinstance(module, NORMS)}
        named = getattr(module, "no_weight_decay", None)
        exempt |= {prefix + name for name in named()} if callable(named) else set()
    return exempt


def set_rates(optimizer: torch.optim.Optimizer, training: Training, step: int) -> dict[str, float]:
    """Sets the learning rate and weight decay of step ``step`` (from 0); returns them, unscaled, to be logged."""
    rate = training.optimizer.learning_rate * _factor(training.schedule, step, training.steps)
    schedule = training.weight_decay_schedule
    decay = _factor(schedule, step, training.steps) if schedule else 1.0
    for group in optimizer.param_groups:
        peak = group.setdefault("peak_weight_decay", group["weight_decay"])
        group |= {"lr": rate * group["learning_rate_scale"], "weight_decay": decay * peak}
    scheduled = {"train/weight_decay": decay * training.optimizer.weight_decay} if schedule else {}
    return {"train/learning_rate": rate, **scheduled}


def drop_frozen_gradients(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Drops the gradients of the parameters that are still frozen at step ``step`` (from 0)."""
    for group in optimizer.param_groups:
        if step < group["frozen_steps"]:
            for parameter in group["params"]:
                parameter.grad = None


def gradient_norm(learner: nn.Module) -> Tensor:
    """Returns the Euclidean norm of all gradients together, a scalar; not finite if any gradient is not finite."""
    return nn.utils.get_total_norm(one.grad for one in learner.parameters() if one.grad is not None)


def named_optimizer_state(optimizer: torch.optim.Optimizer, learner: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields the optimizer's tensors, of any shape, named after their parameters: ``network.….weight/exp_avg``."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if value is not None:  # a momentum that is switched off
                yield f"{names[parameter]}/{key}", value


def prepare_optimizer_state(
    optimizer: torch.optim.Optimizer, learner: nn.Module, stored: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Allocates state like ``stored``, tensors of any shape, sharded like the parameters; returns it, to be filled."""
    parameters, state = dict(learner.named_parameters()), {}
    fused = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    for name, like in stored.items():
        parameter_name, _, key = name.rpartition("/")
        parameter = parameters[parameter_name]
        if like.shape == parameter.shape:  # the fused kernel assumes that both have the same memory layout
            value = torch.empty_like(parameter.detach(), dtype=like.dtype)
        else:  # other kernels read the number of steps on the host
            value = torch.empty_like(like, device=parameter.device if fused or like.ndim else "cpu")
        state[name] = optimizer.state[parameter][key] = value
    return state


def _group_of(name: str, training: Training) -> ParameterGroup:
    """Returns the first group that matches a parameter's name."""
    fitting = (group for group in training.parameter_groups if fnmatch.fnmatchcase(name, group.parameters))
    return next(fitting, ParameterGroup(parameters="*"))


def _factor(schedule: Schedule, step: int, steps: int) -> float:
    factor = schedule.at(step, steps)
    if not 0 <= factor < math.inf:
        what = f"{type(schedule).__name__}.at({step}, {steps}) is {factor}, which is no factor on a rate"
        raise SpecError(what, where="training.schedule", hint="return a finite number of at least 0 for every step")
    return factor
