"""Contrastive objectives: find a sample's other view among the views of other samples (SimCLR, MoCo)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact import Batch, Loss, Network, Objective, ObjectiveModule, SpecError, StudentPass, Target, TargetBuilderModule
from didact.machine.distributed import connected
from didact.preflight import Finding, Preflight
from didact_views.prediction import unit
from didact_views.projection import MLP
from didact_views.projections import pooled, pooled_width, require_sample_vectors


@attrs.frozen(kw_only=True)
class InfoNCE(Objective):
    """The cross-entropy of finding a view's target among candidates, by cosine similarity (van den Oord et al. 2018).

    Averaged over samples and over pairs of a view and its target. The candidates come from the global batch of all
    processes, so ``gradient_accumulation_steps`` must be 1, except with a queue. ``predict/accuracy`` is logged.

    Attributes:
        candidates: the wrong candidates. ``targets``: the targets of the other samples (MoCo v3, Chen et al. 2021).
            ``views``: all views of the other samples (SimCLR, Chen et al. 2020, eq. 1). ``queue``: the targets of
            earlier steps (MoCo, He et al. 2020, section 3.2).
        temperature: τ, by which cosines are divided; 0.2 in MoCo v2 and v3, 0.1 in SimCLR.
        queue: K, the number of earlier targets, if the candidates are a queue; 65,536 in MoCo.
        predictor: the layers that predict the target from the student's projection; None compares the projection
            itself. MoCo v3 has two layers, ``MLP(hidden=4096, out=256)``.
        scale: factor on the loss. MoCo v3 multiplies by 2τ.
    """

    candidates: Literal["targets", "views", "queue"] = "targets"
    temperature: float = 0.2
    queue: int = 65_536
    predictor: MLP | None = None
    scale: float = 1.0

    def validate(self) -> None:
        self.require(self.temperature > 0, "temperature", "above 0")
        self.require(self.queue >= 1, "queue", "at least 1")
        self.require(self.scale > 0, "scale", "above 0")

    @property
    def supports_accumulation(self) -> bool:
        return self.candidates == "queue" and (self.predictor is None or self.predictor.supports_accumulation)

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Checks that there are wrong candidates."""
        fewest = preflight.samples_per_step.min()
        if self.candidates != "queue" and fewest < 2:
            yield Finding(
                severity="error",
                says="a batch of one sample has no wrong candidates",
                hint="training.batch of 256 samples or more, or candidates='queue'",
            )
        elif self.candidates == "queue" and preflight.samples_per_step.max() * preflight.steps < self.queue:
            yield Finding.warning(
                f"the queue of {self.queue:,} targets is never filled in {preflight.steps:,} steps, so the random "
                f"vectors with which it starts remain candidates",
                where="queue",
                hint="a smaller queue, such as a tenth of the samples",
            )

    def build(self, network: Network, targets: TargetBuilderModule) -> InfoNCEModule:
        require_sample_vectors(targets, "InfoNCE")
        width = pooled_width(network, "InfoNCE")
        predictor = None if self.predictor is None else self.predictor.build(width)
        predicted = width if predictor is None else predictor.width
        if predicted != targets.width:
            raise SpecError(
                f"InfoNCE compares vectors of {predicted} with targets of {targets.width}",
                where="predictor",
                hint=f"predictor=MLP(out={targets.width})",
            )
        return InfoNCEModule(self, predictor, targets.width)


class InfoNCEModule(ObjectiveModule):
    """The predictor and the queue.

    Attributes:
        queue: (K, P) unit vectors: the targets of earlier steps, of all processes; empty without a queue.
        pointer: int64 scalar; the entry of the queue that is replaced next.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(self, spec: InfoNCE, predictor: nn.Module | None, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.predictor = predictor
        size = spec.queue if spec.candidates == "queue" else 0
        self.register_buffer("queue", F.normalize(torch.randn(size, width), dim=-1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        # targets of the step with this key; dropped if the step is left out, because the next step has another key
        self._key, self._new = 0, list[Tensor]()

    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        return {"contrast": batch.ids.shape[0]}

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the predictions (B, P) of each view with its targets (B, P) and with the candidates."""
        predictions = {one.index: self._predict(one) for one in passes if one.encoded}  # (B, P) each
        values = [unit(target.values) for target in targets]
        losses, right = [], []
        for target, value in zip(targets, values, strict=True):
            logits, others = self._logits(predictions, predictions[target.view], value, target.view)
            losses.append((torch.logsumexp(torch.cat([logits, others], 1), 1) - logits[:, 0]).sum())
            right.append((others.detach().amax(1) < logits[:, 0].detach()).float().mean())
        if self.training and self.spec.candidates == "queue":
            self._remember(batch.key, torch.cat([value.detach() for value in values]))
        width = values[0].shape[1] ** 0.5  # vectors spread over all directions then have standard deviation 1
        return Loss(
            terms={"contrast": self.spec.scale * torch.stack(losses).sum() / len(targets)},
            predictions=torch.cat([predictions[target.view].detach() for target in targets]) * width,
            targets=torch.cat(values).detach() * width,
            scalars={"predict/accuracy": torch.stack(right).mean()},
        )

    @torch.no_grad()
    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float | Tensor]:
        """Replaces the oldest entries of the queue by this step's targets (N, P), of all processes."""
        if self._new:
            new = connected().gather(torch.cat(self._new))[-len(self.queue) :]  # (n, P)
            self._new = []
            places = (self.pointer + torch.arange(len(new), device=new.device)) % len(self.queue)
            self.queue.index_copy_(0, places, new.to(self.queue.dtype))
            self.pointer.add_(len(new)).remainder_(len(self.queue))
        return {}

    def _predict(self, one: StudentPass) -> Tensor:
        projection = pooled(one, "InfoNCE")
        return unit(projection if self.predictor is None else self.predictor(projection))

    def _logits(
        self, predictions: Mapping[int, Tensor], prediction: Tensor, value: Tensor, view: int
    ) -> tuple[Tensor, Tensor]:
        """Returns the similarity to the target (B, 1) and to the wrong candidates (B, C), divided by τ."""
        with torch.autocast(prediction.device.type, enabled=False):
            logits = (prediction * value).sum(1, keepdim=True)
            if self.spec.candidates == "queue":
                others = prediction @ self.queue.T
            else:
                world = connected() if self.training else None
                first = 0 if world is None else sum(world.counts(len(value))[: world.rank])
                own = first + torch.arange(len(value), device=value.device)  # this process's samples in the batch
                pools = list(predictions.values()) if self.spec.candidates == "views" else [value]
                pools = pools if world is None else [world.gather(pool) for pool in pools]
                others = torch.cat([_without_own(prediction @ pool.T, own) for pool in pools], 1)
        return logits / self.spec.temperature, others / self.spec.temperature

    def _remember(self, key: int, values: Tensor) -> None:
        if key != self._key:
            self._key, self._new = key, []
        self._new.append(values)


def _without_own(similarities: Tensor, own: Tensor) -> Tensor:
    """Replaces the similarity (B, N) of each sample to its own views by -inf; ``own`` (B,) are its columns."""
    return similarities.scatter(1, own[:, None], float("-inf"))
