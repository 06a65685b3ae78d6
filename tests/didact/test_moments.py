"""The variance of values over a global batch, computed from parts of the batch."""

from __future__ import annotations

import json

import pytest
import torch

from didact.loop.faults import moments, standard_deviation
from didact.record.folder import read_metrics
from didact.record.observers import Recorder


def by_definition(values: torch.Tensor) -> torch.Tensor:
    return (values.double().var(0) + 1e-6).sqrt().mean().float()


@pytest.mark.parametrize("sizes", [(7,), (1, 6), (3, 4), (1, 1, 5), (0, 7)])
def test_parts_give_what_the_whole_gives(sizes):
    values = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 3 + 100
    parts = [moments(part) for part in values.split(sizes)]
    torch.testing.assert_close(standard_deviation(parts), by_definition(values), rtol=1e-4, atol=0)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_single_row_varies_by_nothing_which_is_a_number(rows):
    found = standard_deviation([moments(torch.full((rows, 4), 3.0))])
    torch.testing.assert_close(found, torch.tensor(1e-3))  # the square root of the 1e-6 that is added


def test_metrics_are_valid_json_whatever_their_values(tmp_path):
    single = standard_deviation([moments(torch.ones(1, 4))])
    metrics = {"collapse/target_std": float(single), "train/loss": float("nan"), "train/gradient_norm": float("inf")}
    Recorder(tmp_path).step_finished(step=1, metrics=metrics)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not valid JSON")

    line = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert line == {
        "step": 1,
        "collapse/target_std": pytest.approx(1e-3),
        "train/loss": None,
        "train/gradient_norm": None,
    }
    assert str(read_metrics(tmp_path)[0]["train/loss"]) == "nan"
