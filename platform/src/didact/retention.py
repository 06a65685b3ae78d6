"""Which checkpoints of a run are kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import attrs

from didact.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from didact.experiment import Training


@attrs.frozen(kw_only=True)
class Retention:
    """The rule. It looks at what lies on disk alone, so it is the same before and after a restart.

    Attributes:
        last: how many of the newest are kept.
        every: those whose step is a multiple of it are kept besides; None: none of them.
        best: the one with the highest value of this metric is kept besides, or with the lowest where a minus stands
            before it; None: none. Of equals the newer; one without a value never is the best.
    """

    last: int
    every: int | None = None
    best: str | None = None

    def keeps(self, checkpoints: Mapping[int, Mapping[str, float]]) -> set[int]:
        """The steps of the checkpoints that are kept.

        Args:
            checkpoints: by step, the metrics that are known of it.
        """
        kept = set(sorted(checkpoints)[-self.last :])
        if self.every is not None:
            kept |= {step for step in checkpoints if step % self.every == 0}
        if self.best is not None:
            name, sign = self.best.removeprefix("-"), -1 if self.best.startswith("-") else 1
            values = {step: sign * metrics.get(name, math.nan) for step, metrics in checkpoints.items()}
            known = [(value, step) for step, value in values.items() if not math.isnan(value)]
            kept |= {max(known)[1]} if known else set()
        return kept

    def unknown(self, found: Collection[str]) -> str | None:
        """What to tell where ``best`` is a metric that its evaluation does not report; else None.

        Args:
            found: the metrics that evaluations reported, as ``name/metric``.
        """
        wanted = (self.best or "").removeprefix("-")
        names = [metric for metric in found if metric.partition("/")[0] == wanted.partition("/")[0]]
        if not names or wanted in names:
            return None
        near = did_you_mean(wanted, names)
        return f"no checkpoint is kept for training.keep_best={self.best}, which no evaluation reports: {near}"


def require_what_is_kept(training: Training, evaluations: Collection[str]) -> None:
    """Raises a `SpecError` where a training writes no checkpoint of the steps that its retention looks for.

    Args:
        training: what is asked for.
        evaluations: the names of the experiment's.
    """
    if training.keep_every is not None:
        _require_checkpoints(training, "keep_every", training.keep_every)
    if training.keep_best is None:
        return
    if training.keep_best.removeprefix("-").partition("/")[0] not in evaluations:
        _require_checkpoints(training, "log_every", training.log_every, exactly=False)
    elif training.evaluate_every is not None:
        _require_checkpoints(training, "evaluate_every", training.evaluate_every)
    else:
        raise SpecError(
            f"training.keep_best is {training.keep_best}, but evaluations are made at the end alone",
            where="evaluate_every",
            mend="say after how many steps they are made besides",
        )


def _require_checkpoints(training: Training, field: str, every: int, *, exactly: bool = True) -> None:
    written = training.checkpoint_every
    if written is None or (every % written if exactly else written % every):
        raise SpecError(
            f"training.{field}={every} looks for checkpoints, of which training.checkpoint_every={written} writes "
            f"{'none' if written is None else 'not all'}",
            where="checkpoint_every",
            mend=f"checkpoint_every={every}, or a {'divisor' if exactly else 'multiple'} of it",
        )
