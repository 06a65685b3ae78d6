"""The optimizer: AdamW over everything that learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from didact.experiment import Training


def build_optimizer(training: Training, learner: nn.Module) -> torch.optim.AdamW:
    """AdamW in its fused form; vectors (biases, norms) are decayed only where the experiment says so."""
    trainable = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.ndim > 1 or training.decay_vectors]
    vectors = [parameter for parameter in trainable if parameter.ndim <= 1 and not training.decay_vectors]
    groups = [{"params": matrices, "weight_decay": training.weight_decay}]
    if vectors:
        groups.append({"params": vectors, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas, eps=training.epsilon, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, training: Training, step: int) -> float:
    """Sets the learning rate of step ``step`` (from 0) and returns it."""
    rate = training.learning_rate * training.schedule.at(step, training.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def gradient_norm(learner: nn.Module) -> Tensor:
    """The Euclidean norm of all gradients together, a scalar; not finite as soon as one of them is not."""
    gradients = [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def clip_gradients(learner: nn.Module, norm: Tensor, limit: float) -> None:
    """Scales all gradients down to a total norm of ``limit``, given the norm that they have, a scalar."""
    torch.nn.utils.clip_grads_with_norm_([p for p in learner.parameters() if p.grad is not None], limit, norm)


def named_optimizer_state(optimizer: torch.optim.Optimizer, learner: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The optimizer's tensors, of any shape, named after the parameter they belong to: ``network.….weight/exp_avg``."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            yield f"{names[parameter]}/{key}", value


def empty_optimizer_state(learner: nn.Module, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Tensors like those that `named_optimizer_state` gave, of any shape, sharded as their parameters are."""
    parameters = dict(learner.named_parameters())
    state = {}
    for name, shape in shapes.items():
        parameter = parameters[name.rpartition("/")[0]]
        # the fused kernel takes for granted that both lie in memory alike
        state[name] = torch.empty_like(parameter.detach()) if shape == parameter.shape else torch.empty(shape)
    return state


def load_optimizer_state(optimizer: torch.optim.Optimizer, learner: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Puts back what `named_optimizer_state` gave, in tensors of `empty_optimizer_state`, of any shape."""
    parameters = dict(learner.named_parameters())
    for name, value in state.items():
        parameter_name, _, key = name.rpartition("/")
        optimizer.state[parameters[parameter_name]][key] = value.to(parameters[parameter_name].device)
