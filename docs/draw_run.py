"""Draws the learning curves of a run, as docs/images/small-images.svg shows them.

didact run experiments/small/images.py --set training.steps=800 --set training.evaluate_every=200 --out runs/picture
python docs/draw_run.py runs/picture docs/images/small-images.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib
from matplotlib import pyplot

LINES = {"linear": ("linear probe", "C0"), "knn": ("20-NN", "C1")}


def main(run: Path, out: Path) -> None:
    """Draws the loss beside the accuracy of the evaluation ``classes``, with its two controls."""
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "didact", "font.size": 9})
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    reports = [json.loads(path.read_text()) for path in sorted((run / "evaluations").glob("classes-*.json"))]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    left.plot([line["step"] for line in metrics], [line["train/loss"] for line in metrics], color="C2")
    left.set(xlabel="step", ylabel="train/loss", yscale="log", title="the loss")
    for name, (label, color) in LINES.items():
        right.plot(
            [report["step"] for report in reports],
            [report["metrics"][name] for report in reports],
            marker="o",
            color=color,
            label=label,
        )
        last = reports[-1]["metrics"]
        right.axhline(last[f"{name}_random"], color=color, linestyle="--", label=f"{label}, random network")
        right.axhline(last[f"{name}_raw"], color=color, linestyle=":", label=f"{label}, raw pixels")
    right.set(xlabel="step", ylabel="accuracy in %", title="the representation, and its controls")
    right.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
