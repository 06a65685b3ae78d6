"""Finds the first tensor of a step that is not finite, and the samples to which it belongs.

The step is computed again while hooks check every module's inputs and outputs in the order of computation, and then
the gradients. This costs one additional step, and nothing for a step that is finite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from didact import Batch, Learner
from didact.loop.engine import local, whole
from didact.machine.devices import autocast
from didact.optimization import gradient_norm
from didact.randomness import seed_step
from didact.tensors import move


@attrs.frozen(kw_only=True)
class Culprit:
    """A tensor that is not finite.

    Attributes:
        what: a description of the tensor, by the module that computes or receives it.
        shape: the shape of the tensor.
        values: how many of its values are not finite, and which ones.
        samples: the ids of the samples of those values; empty if the tensor's shape does not show them.
        everywhere: whether these are all samples of their part of the batch, so that no single sample is the cause.
    """

    what: str
    shape: tuple[int, ...] = ()
    values: str
    samples: tuple[int, ...] = ()
    everywhere: bool = False

    def __str__(self) -> str:
        return f"{self.what} {self.shape}: {self.values}"


@attrs.frozen(kw_only=True)
class Diagnosis:
    """The result of computing a step again.

    Attributes:
        first: the first tensor that is not finite; None if all are finite.
        checked: the number of tensors before that one; it orders the findings of several processes.
        terms: the terms of the loss, each as a mean.
        gradient_norm: the norm of all gradients.
    """

    first: Culprit | None
    checked: int
    terms: Mapping[str, float]
    gradient_norm: float

    @property
    def loss(self) -> float:
        """The loss of the whole batch."""
        return sum(self.terms.values())


def diagnose(
    learner: Learner,
    parts: Sequence[Batch],
    num_targets: Mapping[str, int],
    *,
    device: torch.device,
    precision: torch.dtype,
    seed: int,
    step: int,
    rank: int = 0,
) -> Diagnosis:
    """Computes the loss and gradient of a batch again, and finds the first tensor that is not finite.

    The learner's gradients are discarded; its weights and buffers do not change. If the learner is sharded, all
    processes call this function together, each with its own share of the batch.

    Args:
        learner: the learner in its state before the step.
        parts: this process's share of the batch, split for gradient accumulation.
        num_targets: the number of targets of each loss term, over the whole global batch.
        device: the device to compute on.
        precision: the precision of the matrix products.
        seed: the seed of the run.
        step: the step from 0; with the seed and the rank, it determines all random numbers of the step.
        rank: the rank of the process whose share this is.
    """
    buffers = [(buffer, buffer.clone()) for buffer in learner.buffers()]
    learner.train()
    learner.zero_grad(set_to_none=True)
    seed_step(seed, step, rank)
    watch = _Watch(learner)
    terms = dict.fromkeys(num_targets, 0.0)
    try:
        watch.check_what_is_given(parts)
        with torch.compiler.set_stance("force_eager"):  # hooks do not run for modules inside a compiled block
            for part in parts:
                watch.part = part
                with autocast(device, precision):
                    total, loss = learner(move(part, device), num_targets)
                for name, term in loss.terms.items():
                    watch.check(f"the loss term {name!r}", term)
                    terms[name] += float(term.detach()) / max(1, num_targets[name])
                total.backward()
                watch.check_gradients()
    finally:
        watch.remove()
    norm = float(whole(gradient_norm(learner)))
    if watch.first is None and not torch.isfinite(torch.tensor(norm)):
        watch.first = Culprit(what="the norm of the gradients", values="it overflows; each gradient is finite")
    learner.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)
    return Diagnosis(first=watch.first, checked=watch.checked, terms=terms, gradient_norm=norm)


class _Watch:
    """Hooks on every module of a learner that find the first tensor that is not finite."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.first: Culprit | None = None
        self.checked = 0
        self.part: Batch | None = None
        self._finite_gradient = ""
        self._handles = []
        for name, module in learner.named_modules():
            before, after = self._hooks(name or "the learner")
            self._handles += [
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after),
            ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def check_what_is_given(self, parts: Sequence[Batch]) -> None:
        for part in parts:
            self.part = part
            for number, view in enumerate(part.views):
                self.check(f"the content of view {number}, as the source gives it,", view.content)
        self.part = None
        for name, parameter in self.learner.named_parameters():
            self.check(f"the weight {name}", parameter)

    def check_gradients(self) -> None:
        self.part = None
        for name, parameter in reversed(list(self.learner.named_parameters())):  # in the order of the backward pass
            if parameter.grad is not None:
                self.check(f"the gradient of the weight {name}", parameter.grad)

    def check(self, what: str, value: Tensor, *, may_mask: bool = False) -> bool:
        """Records a tensor of any shape if it is the first that is not finite; returns whether one has been found.

        Args:
            what: a description of the tensor.
            value: the tensor, of any shape; its rows may be samples of the current part.
            may_mask: whether -inf is allowed, as in an additive mask before a softmax.
        """
        if self.first is None and value.is_floating_point():
            self.checked += 1
            value = local(value.detach())
            bad = value.isnan() | value.isposinf() if may_mask else ~value.isfinite()
            if bool(bad.any()):
                samples, everywhere = self._samples(value)
                self.first = Culprit(
                    what=what, shape=tuple(value.shape), values=_count(value), samples=samples, everywhere=everywhere
                )
        return self.first is not None

    def _hooks(self, place: str) -> tuple[Any, Any]:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            for value in tensors_in((args, kwargs)).values():
                self.check(f"an input of {place}", value, may_mask=True)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            for field, value in tensors_in(output).items():
                self.check(f"{f'{field} in ' if field else ''}the output of {place}", value, may_mask=True)
                if value.requires_grad:
                    value.register_hook(backward)  # type: ignore[no-untyped-call]

        def backward(gradient: Tensor) -> None:
            since = f", after a finite one at that of {self._finite_gradient}," if self._finite_gradient else ""
            if not self.check(f"the gradient at the output of {place}{since}", gradient):
                self._finite_gradient = place

        return before, after

    def _samples(self, value: Tensor) -> tuple[tuple[int, ...], bool]:
        """The samples whose rows are not finite, for a tensor (B, …) or (B·M, …) whose rows are samples."""
        part = self.part
        if part is None or value.ndim == 0:
            return (), False
        count = part.ids.shape[0]
        masks = [view.mask for view in part.views if view.mask is not None]
        rows_per_sample = {1, *(n for mask in masks for n in (mask.masks, mask.contexts))}
        if value.shape[0] % count or value.shape[0] // count not in rows_per_sample:
            return (), False
        rows = ~value.isfinite().reshape(count, -1).all(1)  # (B, M·…) -> (B,)
        return tuple(part.ids[rows.cpu()].tolist()), bool(rows.all())


def _count(value: Tensor) -> str:
    """Describes how many values of a tensor of any shape are not finite."""
    counts = {"nan": int(value.isnan().sum()), "inf": int(value.isinf().sum())}
    return f"{' and '.join(f'{n} {name}' for name, n in counts.items() if n)} of {value.numel()} values"


def tensors_in(value: Any, place: str = "") -> dict[str, Tensor]:
    """Collects every tensor, of any shape, in a contract value, by its path of fields: ``terms.regression``."""
    if isinstance(value, Tensor):
        return {place: value}
    if isinstance(value, Mapping):
        inner = dict(value)
    elif isinstance(value, (tuple, list)):
        inner = dict(enumerate(value)) if len(value) != 1 else {"": value[0]}
    elif attrs.has(type(value)):
        inner = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    else:
        return {}
    found: dict[str, Tensor] = {}
    for key, item in inner.items():
        found |= tensors_in(item, ".".join(str(part) for part in (place, key) if part != ""))
    return found
