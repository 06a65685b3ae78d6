"""Which tensor of a step was the first that is not finite, and which samples it is about.

The step is computed again with a look at every module's inputs and outputs, in the order in which they arise, and at
the gradients on their way back. It costs one more step, and nothing in a step that is finite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from didact.learner import Learner
from didact.machine.devices import autocast
from didact.optimization import gradient_norm
from didact.randomness import seed_step
from didact.tensors import Batch, move
from didact.training.parallel import local, whole


@attrs.frozen(kw_only=True)
class Culprit:
    """A tensor that is not finite.

    Attributes:
        what: the tensor, by the module that made it or takes it.
        shape: of it.
        values: how many of its values are not finite, and what they are.
        samples: the ids of the samples that those values belong to; empty where that cannot be told from the shape, or
            where it is no sample's.
        everywhere: whether those are all the samples of their micro-batch, so that none of them is the cause alone.
    """

    what: str
    shape: tuple[int, ...]
    values: str
    samples: tuple[int, ...] = ()
    everywhere: bool = False

    def __str__(self) -> str:
        return f"{self.what} {tuple(self.shape)}: {self.values}"


@attrs.frozen(kw_only=True)
class Diagnosis:
    """What came of computing a step again.

    Attributes:
        first: the first tensor that is not finite; None where all are.
        looks: how many tensors came before it; on which process it arose first follows from that.
        loss: of the whole batch.
        terms: the loss's terms, each as its mean.
        gradient_norm: of all gradients together.
    """

    first: Culprit | None
    looks: int
    loss: float
    terms: Mapping[str, float]
    gradient_norm: float


def diagnose(
    learner: Learner,
    parts: Sequence[Batch],
    totals: Mapping[str, int],
    *,
    device: torch.device,
    precision: torch.dtype,
    seed: int,
    step: int,
    rank: int = 0,
) -> Diagnosis:
    """Computes the loss and gradient of a batch, watching for the first tensor that is not finite.

    The learner's gradients are gone afterwards; its weights and buffers are as they were. Where the learner is sharded,
    all processes look together, each at its own share of the batch.

    Args:
        learner: in the state in which the step found it.
        parts: this process's share of the batch, in micro-batches.
        totals: what the objective counts over the whole global batch.
        device: where to compute.
        precision: in which.
        seed: of the run.
        step: from 0, from which all follows that is drawn in it.
        rank: of the process whose share it is.
    """
    buffers = copy_buffers(learner)
    watch = _Watch(learner)
    loss, terms = 0.0, dict.fromkeys(totals, 0.0)
    learner.train()
    learner.zero_grad(set_to_none=True)
    seed_step(seed, step, rank)
    watch.content(parts)
    watch.weights()
    try:
        with torch.compiler.set_stance("force_eager"):  # a compiled block shows its inner modules to no hook
            for part in parts:
                watch.part = part
                with autocast(device, precision):
                    total, said = learner(move(part, device), totals)
                watch.losses(said.terms)
                total.backward()
                watch.gradients()
                loss += float(total.detach())
                for name, term in said.terms.items():
                    terms[name] += float(term.detach()) / max(1, totals[name])
    finally:
        watch.remove()
    norm = float(whole(gradient_norm(learner)))
    if watch.first is None and not torch.isfinite(torch.tensor(norm)):
        watch.first = Culprit(what="the norm of the gradients", shape=(), values="it overflows; each of them is finite")
    learner.zero_grad(set_to_none=True)
    put_back_buffers(learner, buffers)
    return Diagnosis(first=watch.first, looks=watch.looks, loss=loss, terms=terms, gradient_norm=norm)


def copy_buffers(learner: nn.Module) -> list[Tensor]:
    """The learner's buffers, of any shape, as they are; a forward pass may change them (running statistics)."""
    return [buffer.clone() for buffer in learner.buffers()]


def put_back_buffers(learner: nn.Module, buffers: Sequence[Tensor]) -> None:
    """Gives the learner's buffers, of any shape, the values that they had."""
    with torch.no_grad():
        for buffer, value in zip(learner.buffers(), buffers, strict=True):
            buffer.copy_(value)


class _Watch:
    """Hooks on every module of a learner, which note the first tensor that is not finite."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.first: Culprit | None = None
        self.looks = 0
        self._finite_gradient = ""
        self.part: Batch | None = None
        self._handles = []
        for name, module in learner.named_modules():
            place = name or "the learner"
            before, after = self._before(place), self._after(place)
            self._handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            self._handles.append(module.register_forward_hook(after))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def weights(self) -> None:
        for name, parameter in self.learner.named_parameters():
            self._look(f"the weight {name}", parameter.detach(), by_row=False)

    def content(self, parts: Sequence[Batch]) -> None:
        for self.part in parts:
            for number, view in enumerate(self.part.views):
                self._look(f"the content of view {number}, as the source gives it,", view.content)

    def losses(self, terms: Mapping[str, Tensor]) -> None:
        for name, term in terms.items():
            self._look(f"the loss term {name!r}", term.detach())

    def gradients(self) -> None:
        for name, parameter in reversed(list(self.learner.named_parameters())):  # as they arise
            if parameter.grad is not None:
                self._look(f"the gradient of the weight {name}", parameter.grad, by_row=False)

    def _before(self, place: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            for value in _tensors((args, kwargs)).values():
                self._look(f"an input of {place}", value, masks=True)

        return hook

    def _after(self, place: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            for field, value in _tensors(output).items():
                self._look(f"{f'{field} in ' if field else ''}the output of {place}", value, masks=True)
                if value.requires_grad:
                    value.register_hook(self._backward(place))  # type: ignore[no-untyped-call]

        return hook

    def _backward(self, place: str) -> Any:
        def hook(gradient: Tensor) -> None:
            since = f", after a finite one at that of {self._finite_gradient}," if self._finite_gradient else ""
            if not self._look(f"the gradient at the output of {place}{since}", gradient):
                self._finite_gradient = place

        return hook

    def _look(self, what: str, value: Tensor, *, by_row: bool = True, masks: bool = False) -> bool:
        """Notes a tensor of any shape if it is the first that is not finite; returns whether one was found so far.

        Args:
            what: it is.
            value: the tensor, of any shape.
            by_row: whether its rows may be samples.
            masks: whether it may be one that hides positions from a softmax, of which -inf is a part.
        """
        if self.first is None and value.is_floating_point():
            self.looks += 1
            value = local(value.detach())
            bad = value.isnan() | value.isposinf() if masks else ~value.isfinite()
            if bool(bad.any()):
                samples, everywhere = self._samples(value) if by_row else ((), False)
                self.first = Culprit(
                    what=what, shape=tuple(value.shape), values=_told(value), samples=samples, everywhere=everywhere
                )
        return self.first is not None

    def _samples(self, value: Tensor) -> tuple[tuple[int, ...], bool]:
        """The samples whose rows are not finite, where the rows of a tensor (B, …) or (B·M, …) are samples."""
        part = self.part
        if part is None or value.ndim == 0:
            return (), False
        count = part.ids.shape[0]
        masks = {1, *(view.mask.masks for view in part.views if view.mask is not None)}
        per_sample = value.shape[0] // count
        if value.shape[0] % count or per_sample not in masks:
            return (), False
        rows = ~value.isfinite().reshape(count, -1).all(1)  # (B, M·…) -> (B,)
        return tuple(part.ids[rows.cpu()].tolist()), bool(rows.all())


def _told(value: Tensor) -> str:
    """What of a tensor of any shape is not finite."""
    nan, infinite = int(value.isnan().sum()), int(value.isinf().sum())
    counts = [f"{count} {name}" for count, name in ((nan, "nan"), (infinite, "inf")) if count]
    return f"{' and '.join(counts)} of {value.numel()} values"


def _tensors(value: Any, place: str = "") -> dict[str, Tensor]:
    """Every tensor inside a value of the contracts, by the fields that lead there: ``terms.regression``."""
    if isinstance(value, Tensor):
        return {place: value}
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, (tuple, list)):
        inner = list(enumerate(value)) if len(value) > 1 else [("", item) for item in value]
    elif attrs.has(type(value)):
        inner = [(field.name, getattr(value, field.name)) for field in attrs.fields(type(value))]
    else:
        return {}
    found: dict[str, Tensor] = {}
    for key, item in inner:
        found |= _tensors(item, ".".join(str(part) for part in (place, key) if part != ""))
    return found
