"""Metrics of a representation that reveal collapse, even if the loss does not show it."""

from __future__ import annotations

from itertools import accumulate

import attrs
import torch
from torch import Tensor

from didact import Batch, Evaluation, Experiment, Report, RunState, Source
from didact.machine.distributed import World
from didact.tensors import mean_over_positions, move
from didact_evaluate.batches import training_batches
from didact_evaluate.features import chunks, vectors
from didact_evaluate.measures import mean_cosine, rankme, spread

TOKENS = 4_096  # position features for the rank; singular values of more take seconds
PER_BATCH = 16  # samples whose predictions are computed at once


@attrs.frozen(kw_only=True)
class RepresentationMetrics(Evaluation):
    """Spread, rank and direction of features, targets and predictions.

    Metrics of the samples' mean features, for ``student`` and ``teacher``: ``…_rank`` (RankMe, Garrido et al. 2023),
    ``…_std``, and ``…_cosine``, the mean cosine of two samples. ``…_token_rank`` is the rank of the features of single
    positions. Metrics of the predicted vectors, for ``target`` and ``prediction``: ``…_std`` over all vectors,
    ``…_std_positions`` within a sample, and ``…_std_samples`` at the same position of different samples. If
    ``…_std_samples`` is small and ``…_std_positions`` is not, the output depends on the position, not on the content.

    Attributes:
        source: source of the samples; None takes the experiment's own. Labels are not needed.
        samples: number of samples; an upper bound of RankMe, so use more than the network's width for published
            figures.
    """

    source: Source | None = None
    samples: int = 256

    def validate(self) -> None:
        self.require(self.samples >= 2, "samples", "at least 2")

    def prepare(self, experiment: Experiment) -> None:
        if self.source is not None:
            self.source.prepare()
            self.source.open()

    def evaluate(self, state: RunState) -> Report:
        metrics = {**self._features(state), **self._predictions(state)}
        return Report(metrics={name: float(value) for name, value in metrics.items()})

    def _features(self, state: RunState) -> dict[str, Tensor]:
        source = self.source or state.experiment.source
        samples = source.open()
        total = len(samples.lengths)
        count = min(self.samples, total)
        indices = torch.linspace(0, total - 1, count).long().tolist()  # evenly spaced: a store may be sorted by class
        networks = {"student": state.student(), "teacher": state.teacher()}
        if networks["teacher"] is networks["student"]:
            del networks["teacher"]
        own: dict[str, dict[int, tuple[Tensor, Tensor]]] = {name: {} for name in networks}  # by place in ``indices``
        per_sample = max(1, TOKENS // count)
        for chunk in chunks(samples, indices, state.experiment, state.world):
            view = move(chunk.view, state.device)
            for name, network in networks.items():
                values = vectors(network, view, experiment=state.experiment)  # (B, T, D)
                means = mean_over_positions(values, view.padding).cpu()
                tokens = _some_positions(values, chunk.view.padding, per_sample)
                own[name] |= dict(zip(chunk.places, zip(means, tokens, strict=True), strict=True))
        shares = state.world.all_gather(own)
        metrics: dict[str, Tensor] = {}
        for name in networks:
            found = {place: pair for share in shares for place, pair in share[name].items()}
            mean = torch.stack([found[place][0] for place in range(count)]).to(state.device)  # (N, D)
            token = torch.cat([found[place][1] for place in range(count)]).to(state.device)
            metrics |= {
                f"{name}_rank": rankme(mean),
                f"{name}_token_rank": rankme(token),
                f"{name}_std": spread(mean),
                f"{name}_cosine": mean_cosine(mean),
            }
        return metrics

    def _predictions(self, state: RunState) -> dict[str, Tensor]:
        shares: list[_Predictions] = []  # batch by batch, and within a batch process by process
        total = len((self.source or state.experiment.source).open().lengths)
        shared = min(self.samples, PER_BATCH, total) >= state.world.size
        world = state.world if shared else World()  # otherwise, each process computes whole batches
        for batch in training_batches(state.experiment, self.source, self.samples, PER_BATCH, world):
            loss = state.predict(batch)
            if loss.targets is None or loss.predictions is None:
                return {}
            kept = _of_first_mask(batch, len(loss.targets))
            rows = torch.arange(len(loss.targets)) if kept is None else kept.rows
            compared = {"target": loss.targets, "prediction": loss.predictions}
            own = {name: each.float().cpu()[rows] for name, each in compared.items()}
            shares += world.all_gather(_Predictions(count=len(batch.ids), values=own, places=kept))
        first = accumulate((share.count for share in shares), initial=0)  # number of the first sample of each share
        places = [(share.places, number) for share, number in zip(shares, first, strict=False) if share.places]
        samples = [place.samples + number for place, number in places]
        positions = [place.positions for place, _ in places]
        metrics = {}
        for name in ("target", "prediction"):
            values = torch.cat([share.values[name] for share in shares]).to(state.device)  # (N, D)
            metrics[f"{name}_std"] = spread(values)
            if positions:
                metrics[f"{name}_std_positions"] = spread(values, torch.cat(samples).to(state.device))
                metrics[f"{name}_std_samples"] = spread(values, torch.cat(positions).to(state.device))
        return metrics


@attrs.frozen(kw_only=True, eq=False)
class _Places:
    """The rows of the chosen predictions in (N, D), and the sample and position of each."""

    rows: Tensor
    samples: Tensor
    positions: Tensor


@attrs.frozen(kw_only=True, eq=False)
class _Predictions:
    """The predictions (N, D) for a share of a batch with ``count`` samples, their targets, and their places."""

    count: int
    values: dict[str, Tensor]
    places: _Places | None


def _of_first_mask(batch: Batch, count: int) -> _Places | None:
    """Returns the predictions for each sample's first mask; None if the predictions are not of single positions."""
    if len(batch.views) != 1 or batch.views[0].mask is None or batch.views[0].mask.count != count:
        return None
    mask, t = batch.views[0].mask, batch.views[0].layout.positions
    rows = (mask.mask_indices // t % mask.masks == 0).nonzero().flatten()
    return _Places(rows=rows, samples=mask.target_indices[rows] // t, positions=mask.target_indices[rows] % t)


def _some_positions(values: Tensor, padding: Tensor | None, count: int) -> list[Tensor]:
    """Takes at most ``count`` evenly spaced positions of each sample of (B, T, D): B tensors (n, D) on the CPU."""
    rows = []
    for index, sample in enumerate(values):
        held = values.shape[1] if padding is None else int((~padding[index]).sum())
        rows.append(sample[torch.linspace(0, held - 1, min(count, held)).long().to(sample.device)].cpu())
    return rows
