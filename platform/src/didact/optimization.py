"""The optimizer: AdamW over all trainable parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from didact.training import Training

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm, _NormBase)  # _NormBase: batch and instance norm


def build_optimizer(training: Training, learner: nn.Module) -> torch.optim.AdamW:
    """Builds a fused AdamW; see `undecayed` for the parameters that are exempt from weight decay."""
    exempt = undecayed(learner)
    trainable = {name: parameter for name, parameter in learner.named_parameters() if parameter.requires_grad}
    groups = [
        {"params": [p for name, p in trainable.items() if name not in exempt], "weight_decay": training.weight_decay},
        {"params": [p for name, p in trainable.items() if name in exempt], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas, eps=training.epsilon, fused=True)


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


def set_learning_rate(optimizer: torch.optim.Optimizer, training: Training, step: int) -> float:
    """Sets the learning rate of step ``step`` (from 0) and returns it."""
    rate = training.learning_rate * training.schedule.at(step, training.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def gradient_norm(learner: nn.Module) -> Tensor:
    """Returns the Euclidean norm of all gradients together, a scalar; not finite if any gradient is not finite."""
    gradients = [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def named_optimizer_state(optimizer: torch.optim.Optimizer, learner: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields the optimizer's tensors, of any shape, named after their parameters: ``network.….weight/exp_avg``."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            yield f"{names[parameter]}/{key}", value


def prepare_optimizer_state(
    optimizer: torch.optim.Optimizer, learner: nn.Module, shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Allocates the optimizer's state, of any shape, sharded like the parameters; returns the tensors to fill."""
    parameters, state = dict(learner.named_parameters()), {}
    for name, shape in shapes.items():
        parameter_name, _, key = name.rpartition("/")
        parameter = parameters[parameter_name].detach()
        # the fused kernel assumes that both have the same memory layout
        like = shape == parameter.shape
        value = torch.empty_like(parameter) if like else torch.empty(shape, device=parameter.device)
        state[name] = optimizer.state[parameters[parameter_name]][key] = value
    return state
