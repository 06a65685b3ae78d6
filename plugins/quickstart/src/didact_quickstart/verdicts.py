"""The results of the quickstart: a table, a sentence for each modality, and a figure."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

CONTENDERS = {"raw": "raw features", "random": "random init", "pretrained": "pretrained"}
CLASSIFIERS = {"linear": "linear", "knn": "20-NN"}
REASONS = {
    "raw": "the raw features already place samples of one class close together",
    "random": "the pretrained network is no better than its random initialisation",
}
NOTICEABLE = 2.0  # points; the standard error of 90 % on the 300 test samples of the smallest lesson is 1.7
COLOURS = {"raw": "#c9c5bd", "random": "#8fa3b5", "pretrained": "#d1495b"}
INK = "#333333"


@attrs.frozen(kw_only=True, eq=False)
class Verdict:
    """The result of one modality.

    Attributes:
        modality: ``images``, ``speech`` or ``text``.
        data: the training data, in a few words.
        accuracy: ``(classifier, contender) → %`` of the held-out samples; keys of `CLASSIFIERS` and `CONTENDERS`.
        classes: number of classes.
        steps: (L,) the optimizer steps whose loss is known.
        losses: (L,) the loss at each.
        seconds: duration of pretraining and evaluation; None if an earlier quickstart did both.
    """

    modality: str
    data: str
    accuracy: dict[tuple[str, str], float]
    classes: int
    steps: np.ndarray
    losses: np.ndarray
    seconds: float | None

    def sentence(self) -> str:
        """Reports the gain of pretraining over the better control, or the reason why there is none.

        A difference below `NOTICEABLE` does not count as a gain.
        """
        gains, failures = [], []
        for classifier, name in CLASSIFIERS.items():
            pretrained = self.accuracy[classifier, "pretrained"]
            control = max(("raw", "random"), key=lambda contender: self.accuracy[classifier, contender])
            best = self.accuracy[classifier, control]
            if pretrained >= best + NOTICEABLE:
                gains.append(f"{name} +{pretrained - best:.1f}")
            else:
                numbers = f"{CONTENDERS[control]} {best:.1f}, pretrained {pretrained:.1f}"
                failures.append(f"none with {name} ({numbers}): {REASONS[control]}")
        if gains:
            gains = [f"{' and '.join(gains)} points over the better control"]
        return f"{self.modality}: gain from pretraining: {'; '.join([*gains, *failures])}"


def table(verdicts: list[Verdict]) -> Table:
    """Returns a table of accuracies on held-out samples, with the best of each modality's three rows in bold."""
    result = Table(title="accuracy on held-out samples, %", title_style="", title_justify="left")
    for heading in ("modality", "features"):
        result.add_column(heading)
    for heading in CLASSIFIERS.values():
        result.add_column(heading, justify="right")
    for verdict in verdicts:
        for contender, name in reversed(CONTENDERS.items()):
            cells = [_cell(verdict, classifier, contender) for classifier in CLASSIFIERS]
            first = contender == "pretrained"
            result.add_row(verdict.modality if first else "", name, *cells, end_section=contender == "raw")
    return result


def _cell(verdict: Verdict, classifier: str, contender: str) -> str:
    value = verdict.accuracy[classifier, contender]
    best = max(verdict.accuracy[classifier, other] for other in CONTENDERS)
    return f"[bold]{value:.1f}[/bold]" if value == best else f"{value:.1f}"


def draw(verdicts: list[Verdict], path: Path) -> None:
    """Writes a figure with the loss curves in the top row and the accuracies and controls in the bottom row."""
    figure = Figure(figsize=(4.0 * len(verdicts), 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(verdicts), squeeze=False, height_ratios=(1, 1.25))
    figure.suptitle("one algorithm, data2vec, on images, speech and text", fontsize=14, color=INK)
    for column, verdict in enumerate(verdicts):
        _draw_loss(axes[0][column], verdict)
        _draw_accuracy(axes[1][column], verdict)
    axes[0][0].set_ylabel("loss", color=INK)
    axes[1][0].set_ylabel("accuracy on held-out samples, %", color=INK)
    handles, labels = axes[1][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, labelcolor=INK)
    figure.savefig(path, dpi=150)


def _draw_loss(axes: Axes, verdict: Verdict) -> None:
    axes.set_title(f"{verdict.modality}: {verdict.data}", fontsize=10.5, color=INK)
    axes.plot(verdict.steps, verdict.losses, color=COLOURS["pretrained"], linewidth=0.8, alpha=0.35)
    axes.plot(verdict.steps, _smooth(verdict.losses), color=COLOURS["pretrained"], linewidth=2)
    axes.set_xlabel("optimizer step", color=INK)
    axes.set_xlim(left=0)
    axes.grid(axis="y", color="#eeeeee")
    _strip(axes)


def _draw_accuracy(axes: Axes, verdict: Verdict) -> None:
    width = 0.27
    for number, (contender, name) in enumerate(CONTENDERS.items()):
        places = np.arange(len(CLASSIFIERS)) + (number - 1) * (width + 0.02)
        heights = [verdict.accuracy[classifier, contender] for classifier in CLASSIFIERS]
        bars = axes.bar(places, heights, width, color=COLOURS[contender], label=name)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=9, color=INK)
    chance = 100 / verdict.classes
    axes.axhline(chance, color=INK, linewidth=0.8, linestyle=(0, (4, 4)), label="chance")
    axes.set_xticks(np.arange(len(CLASSIFIERS)), list(CLASSIFIERS.values()))
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 105)
    _strip(axes)


def _strip(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")
    axes.tick_params(colors=INK, labelsize=9)


def _smooth(values: np.ndarray, reach: int = 3) -> np.ndarray:
    """Computes a running mean of (L,) values over ``reach`` neighbours on either side, fewer at both ends."""
    parts = [values[max(0, place - reach) : place + reach + 1] for place in range(len(values))]
    return np.array([part.mean() for part in parts])
