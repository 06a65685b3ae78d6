"""Muon: momentum, orthogonalised, for the matrices in the backbone's blocks; AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs
import torch

from didact import Optimizer, SpecError


@attrs.frozen(kw_only=True)
class Muon(Optimizer):
    """Muon (Jordan et al. 2024): the matrices in backbones' blocks move along their orthogonalised momentum.

    These are the weights of two dimensions in the blocks, of predictors and decoders too, that are not exempt from
    weight decay. AdamW trains everything else: embeddings, heads, vectors, convolutions. The orthogonalisation is
    PyTorch's (`torch.optim.Muon`, Newton–Schulz in bfloat16). With ``training.strategy=fsdp``, each process gathers one
    matrix after the other and orthogonalises it as a whole.

    Attributes:
        weight_decay: decoupled weight decay, of AdamW too; 0.1 in Liu et al. (2025). Biases, norms and parameters in
            ``no_weight_decay()`` are exempt.
        momentum: the coefficient of the running average of the gradient.
        nesterov: whether the gradient is added to the average once more.
        iterations: number of Newton–Schulz iterations.
        adjustment: the factor on the learning rate of a matrix with A rows and B columns. ``match_rms_adamw``:
            0.2·√max(A, B), so that learning rate and weight decay of AdamW fit (Liu et al. 2025). ``original``:
            √max(1, A / B) (Jordan et al. 2024), with a learning rate of about 0.02.
        adamw_learning_rate_scale: the factor on the learning rate of the parameters that AdamW trains; 1.0 with
            ``match_rms_adamw``, about 0.015 with ``original``.
        betas: AdamW's coefficients of the running averages of the gradient and of its square.
        epsilon: the term that AdamW adds to the denominator.
    """

    weight_decay: float = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    iterations: int = 5
    adjustment: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    adamw_learning_rate_scale: float = 1.0
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = 1e-8

    def validate(self) -> None:
        super().validate()
        self.require(0 <= self.momentum < 1, "momentum", "from 0 up to but not 1")
        self.require(1 <= self.iterations < 100, "iterations", "from 1 to 99")
        self.require(self.adamw_learning_rate_scale > 0, "adamw_learning_rate_scale", "above 0")
        self.require(all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers from 0 up to but not 1")
        self.require(self.epsilon > 0, "epsilon", "above 0")

    def build(self, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        if not hasattr(torch.optim, "Muon"):
            what = f"Muon needs torch.optim.Muon, which PyTorch {torch.__version__} does not have"
            raise SpecError(what, hint="update PyTorch, or use AdamW")
        matrices, others = [], []
        for group in groups:
            fits = [group["in_blocks"] and not group["exempt"] and weight.ndim == 2 for _, weight in group["params"]]
            mine = [pair for pair, fit in zip(group["params"], fits, strict=True) if fit]
            rest = [pair for pair, fit in zip(group["params"], fits, strict=True) if not fit]
            scale = group["learning_rate_scale"] * self.adamw_learning_rate_scale
            matrices += [{**group, "params": mine}] if mine else []
            others += [{**group, "params": rest, "learning_rate_scale": scale}] if rest else []
        if not matrices:
            what = "Muon trains the matrices in a backbone's blocks, and no such matrix is trained here"
            raise SpecError(what, hint="use AdamW, or freeze fewer parameters")
        sharded = any(hasattr(weight, "full_tensor") for group in matrices for _, weight in group["params"])
        parts: list[torch.optim.Optimizer] = [
            (ShardedMuon if sharded else torch.optim.Muon)(matrices, **self._settings())
        ]
        if others:
            parts.append(
                torch.optim.AdamW(others, lr=self.learning_rate, betas=self.betas, eps=self.epsilon, fused=True)
            )
        return Together(parts)

    def _settings(self) -> dict[str, Any]:
        return {
            "lr": self.learning_rate,
            "weight_decay": self.weight_decay,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "ns_steps": self.iterations,
            "adjust_lr_fn": self.adjustment,
        }


class ShardedMuon(torch.optim.Optimizer):
    """`torch.optim.Muon` for sharded matrices, which it orthogonalises as a whole: the result is that of one process.

    PyTorch's would multiply shards, and sum their products in bfloat16.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], **settings: Any) -> None:
        super().__init__(groups, settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Takes one step; all processes must call this together."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._update(matrix, group)
        return loss

    def _update(self, matrix: Any, group: dict[str, Any]) -> None:
        from torch.distributed.tensor import distribute_tensor  # importing it takes half a second

        state, gradient = self.state[matrix], matrix.grad
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        change = gradient.lerp(average, group["momentum"]) if group["nesterov"] else average
        whole = torch.nn.Parameter(torch.zeros(matrix.shape, device=matrix.device))
        whole.grad = change.full_tensor()
        kept = {"ns_steps": group["ns_steps"], "adjust_lr_fn": group["adjust_lr_fn"]}
        muon = torch.optim.Muon([whole], lr=group["lr"], weight_decay=0.0, momentum=0.0, nesterov=False, **kept)
        muon.step()  # type: ignore[no-untyped-call]
        moved = distribute_tensor(whole.detach(), matrix.device_mesh, matrix.placements, src_data_rank=None)
        matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(moved)


class Together(torch.optim.Optimizer):
    """Several optimizers as one: their groups are this one's, and they keep their states in this one's.

    Args:
        parts: optimizers of different parameters.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = tuple(parts)
        for part in parts:
            part.state = self.state

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Takes a step of each part."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for part in self.parts:
            part.step()
        return loss
