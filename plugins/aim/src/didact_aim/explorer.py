"""Addresses that open Aim's metrics explorer on a study: its curves by variant, averaged over seeds.

Aim keeps the state of its explorer in the address: JSON, percent-encoded, then in base64 without padding, after ``O-``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from didact import DataError
from didact.errors import did_you_mean
from didact_aim.repository import open_repository

if TYPE_CHECKING:
    from aim.sdk.run import Run

LOSS = "train/loss"
LEFT_ALONE = "!#$&'()*+,/:;=?@-_.~"  # characters that JavaScript's encodeURI does not encode
STANDARD_DEVIATION, MEAN = 2, 0  # indices into Aim's lists of bands and of lines


def study_address(browser: str, study: str, metrics: Sequence[str]) -> str:
    """The address at which Aim's browser shows a study: a chart per metric, a colour per variant, mean and deviation.

    Args:
        browser: the browser's own address, such as ``http://127.0.0.1:43800``.
        study: the name of the study, which is the label ``study`` of its runs.
        metrics: names of metrics as in the runs' folders: ``train/loss``, ``classes/linear``.
    """
    wanted = " or ".join(f"({_condition(metric)})" for metric in metrics)
    state = {
        "select": {
            "options": [],
            "query": "",
            "advancedMode": True,
            # the study's own Aim run, which has a table and no curves, has no variant
            "advancedQuery": f"run.study == {study!r} and run.variant and ({wanted})",
        },
        "grouping": {
            "color": ["run.params.variant"],
            "stroke": [],
            "chart": ["name", "context"],
            "reverseMode": dict.fromkeys(("color", "stroke", "chart"), False),
            "isApplied": dict.fromkeys(("color", "stroke", "chart"), True),
            "persistence": dict.fromkeys(("color", "stroke"), False),
            "seed": {"color": 10, "stroke": 10},
            "paletteIndex": 0,
        },
        "chart": {
            "aggregationConfig": {
                "methods": {"area": STANDARD_DEVIATION, "line": MEAN},
                "isApplied": True,
                "isEnabled": True,
            }
        },
    }
    return f"{browser}/metrics?" + "&".join(f"{part}={_encoded(value)}" for part, value in state.items())


def study_metrics(place: str, study: str) -> list[str]:
    """Returns the metrics to show first for a study: the loss, the deciding metric, and the further ones.

    Args:
        place: the folder of an Aim repository.
        study: the name of the study.

    Raises:
        DataError: the repository has no run of the study.
    """
    found: dict[str, Any] = {}
    for run in open_repository(place).iter_runs():
        name = run.get("study")
        if name and (name not in found or not run.get("variant")):
            found[name] = _asked(run)
    if study not in found:
        raise DataError(
            f"the Aim repository in {place} has no run of a study {study!r}",
            where="--study",
            hint=did_you_mean(study, found) if found else "run a study whose base experiment lists the observer Aim()",
        )
    return list(dict.fromkeys((LOSS, *found[study])))


def _asked(run: Run) -> list[str]:
    """Returns the metrics that a study's own run names; empty for a run of a variant."""
    if run.get("variant"):
        return []
    settings: dict[str, Any] = run.get("hparams") or {}
    return [metric for metric in (settings.get("metric"), *(settings.get("also") or ())) if metric]


def _condition(metric: str) -> str:
    """Converts a metric to an Aim condition; training metrics have a group, evaluations have a name."""
    group, _, name = metric.rpartition("/")
    if not group:
        return f"metric.name == {name!r}"
    contexts = " or ".join(f"metric.context == {{{key!r}: {group!r}}}" for key in ("group", "evaluation"))
    return f"metric.name == {name!r} and ({contexts})"


def _encoded(state: object) -> str:
    text = quote(json.dumps(state, separators=(",", ":"), ensure_ascii=False), safe=LEFT_ALONE)
    return "O-" + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
