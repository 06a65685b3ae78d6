"""Contrastive objectives: find a sample's other view among the views of other samples (SimCLR, MoCo, CLIP)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact import Batch, Loss, Network, Objective, ObjectiveModule, SpecError, StudentPass, Target, TargetBuilderModule
from didact.machine.distributed import World, connected
from didact.preflight import Finding, Preflight
from didact_views.prediction import unit
from didact_views.projection import MLP
from didact_views.projections import pooled, pooled_width, require_sample_vectors

LOWEST = 0.01  # the lowest temperature that is learned (Radford et al. 2021, section 2.5)


@attrs.frozen(kw_only=True)
class InfoNCE(Objective):
    """The cross-entropy of finding a view's target among candidates, by cosine similarity (van den Oord et al. 2018).

    Averaged over samples and over pairs of a view and its target. ``predict/accuracy`` is logged. Candidates that are
    no queue come from the global batch of all processes, so ``gradient_accumulation_steps`` must be 1.

    Attributes:
        candidates: the wrong candidates. ``targets``: the targets of the other samples (MoCo v3, Chen et al. 2021;
            CLIP, Radford et al. 2021). ``views``: all views of the other samples (SimCLR, Chen et al. 2020, eq. 1). A
            number K: a queue of the latest K targets of earlier steps (MoCo, He et al. 2020, section 3.2, 65,536).
        temperature: τ, by which cosines are divided; 0.2 in MoCo v2 and v3, 0.1 in SimCLR, 0.07 in CLIP.
        learn_temperature: whether τ is learned, from ``temperature`` on and not below 0.01, as in CLIP. It is logged
            as ``predict/temperature``.
        predictor: the layers that predict the target from the student's projection; None compares the projection
            itself. MoCo v3 has two layers, ``MLP(hidden=4096, out=256)``.
        scale: factor on the loss. MoCo v3 multiplies by 2τ.
    """

    candidates: Literal["targets", "views"] | int = "targets"
    temperature: float = 0.2
    learn_temperature: bool = False
    predictor: MLP | None = None
    scale: float = 1.0

    def validate(self) -> None:
        self.require(isinstance(self.candidates, str) or self.candidates >= 1, "candidates", "at least 1, or a word")
        self.require(self.temperature > 0, "temperature", "above 0")
        self.require(self.scale > 0, "scale", "above 0")

    @property
    def supports_accumulation(self) -> bool:
        return isinstance(self.candidates, int) and (self.predictor is None or self.predictor.supports_accumulation)

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Checks that there are wrong candidates."""
        if isinstance(self.candidates, str) and preflight.samples_per_step.min() < 2:
            yield Finding(
                severity="error",
                says="a batch of one sample has no wrong candidates",
                hint="training.batch of 256 samples or more, or candidates=65_536, a queue",
            )
        most = preflight.samples_per_step.max() * preflight.steps
        if isinstance(self.candidates, int) and most < self.candidates:
            yield Finding.warning(
                f"the queue of {self.candidates:,} targets is never filled in {preflight.steps:,} steps, so the random "
                f"vectors with which it starts remain candidates",
                where="candidates",
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
    """The predictor, the queue and the learned temperature.

    Attributes:
        queue: (K, P) unit vectors: the targets of earlier steps, of all processes, in the order of the global batch;
            None without a queue.
        pointer: int64 scalar; the entry of the queue that is replaced next; None without a queue.
        log_scale: (1,); log 1/τ, if it is learned.
    """

    queue: Tensor | None
    pointer: Tensor | None

    def __init__(self, spec: InfoNCE, predictor: nn.Module | None, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.predictor = predictor
        size = spec.candidates if isinstance(spec.candidates, int) else None
        self.register_buffer("queue", None if size is None else F.normalize(torch.randn(size, width), dim=-1))
        self.register_buffer("pointer", None if size is None else torch.zeros((), dtype=torch.int64))
        start = torch.tensor([-math.log(spec.temperature)])
        self.log_scale = nn.Parameter(start) if spec.learn_temperature else None
        # the targets of the step with this key, by part: (b, n, P) each; those of a step that is left out are never
        # used, because the next step has another key
        self._key, self._new = 0, list[Tensor]()

    def no_weight_decay(self) -> set[str]:
        """The temperature: decay would pull it to 1."""
        return set() if self.log_scale is None else {"log_scale"}

    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        return {"contrast": batch.ids.shape[0]}

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the predictions (B, P) of each view with its targets (B, P) and with the candidates."""
        predictions = {one.index: self._predict(one) for one in passes if one.encoded}  # (B, P) each
        values = [unit(target.values) for target in targets]
        scale = 1 / self.spec.temperature if self.log_scale is None else self.log_scale.exp()
        scaled = [scale * predictions[target.view] for target in targets]  # (B, P) each, one for each target
        with torch.autocast(values[0].device.type, enabled=False):
            found = [(one * value).sum(1) for one, value in zip(scaled, values, strict=True)]  # (B,) each
            wrong = self._logits(scaled, list(predictions.values()), values)  # (B, C) each
        losses = [
            torch.logsumexp(torch.cat([one[:, None], others], 1), 1) - one
            for one, others in zip(found, wrong, strict=True)
        ]
        right = [(others.amax(1) < one).float().mean() for one, others in zip(found, wrong, strict=True)]
        if self.training and self.queue is not None:
            self._remember(batch.key, torch.stack([value.detach() for value in values], 1))
        width = values[0].shape[1] ** 0.5  # vectors spread over all directions then have standard deviation 1
        learned = {} if self.log_scale is None else {"predict/temperature": 1 / self.log_scale.detach().exp().sum()}
        return Loss(
            terms={"contrast": self.spec.scale * torch.stack(losses).sum() / len(targets)},
            predictions=torch.cat([predictions[target.view].detach() for target in targets]) * width,
            targets=torch.cat(values).detach() * width,
            scalars={"predict/accuracy": torch.stack(right).mean(), **learned},
        )

    @torch.no_grad()
    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float | Tensor]:
        """Replaces the oldest entries of the queue (K, P) by the targets of this step, of all processes."""
        if self.log_scale is not None:
            self.log_scale.clamp_(max=-math.log(LOWEST))
        if self._new and self.queue is not None and self.pointer is not None:
            new = connected().gather(torch.cat(self._new)).flatten(0, 1)  # (B, n, P) -> (B·n, P)
            new, self._new = new[-len(self.queue) :], []
            places = (self.pointer + torch.arange(len(new), device=new.device)) % len(self.queue)
            self.queue.index_copy_(0, places, new)
            self.pointer.add_(len(new)).remainder_(len(self.queue))
        return {}

    def _predict(self, one: StudentPass) -> Tensor:
        projection = pooled(one, "InfoNCE")
        return unit(projection if self.predictor is None else self.predictor(projection))

    def _logits(self, scaled: list[Tensor], predictions: list[Tensor], values: list[Tensor]) -> list[Tensor]:
        """Returns, for each target, the logits (B, C) of the wrong candidates.

        Args:
            scaled: (B, P) for each target; the prediction of the target's view, divided by τ.
            predictions: (B, P) for each view.
            values: (B, P) for each target.
        """
        if self.queue is not None:
            return [one @ self.queue.T for one in scaled]
        views = self.spec.candidates == "views"
        here = torch.stack(predictions if views else values, 1)  # (B, n, P)
        world = connected() if self.training else World()
        first = sum(world.counts(len(here))[: world.rank])
        pool = world.gather(here)  # (N, n, P), of the global batch
        own = (
            torch.arange(len(pool), device=here.device) - first == torch.arange(len(here), device=here.device)[:, None]
        )
        pools = [pool if views else pool[:, number : number + 1] for number in range(len(scaled))]
        return [
            torch.einsum("bp,nvp->bnv", one, others).masked_fill(own[..., None], -torch.inf).flatten(1)
            for one, others in zip(scaled, pools, strict=True)
        ]

    def _remember(self, key: int, values: Tensor) -> None:
        if key != self._key:
            self._key, self._new = key, []
        self._new.append(values)
