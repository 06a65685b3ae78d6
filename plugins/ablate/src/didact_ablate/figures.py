"""Figures of a comparison, for screen and print; each is saved as PNG and SVG."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np

from didact_ablate.comparison import Comparison
from didact_ablate.tables import digits_of

if TYPE_CHECKING:  # imported when a figure is drawn, because it takes seconds
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED = "#333333", "#8fa3b5"
COLOURS = {"better": "#2a7f62", "worse": "#d1495b", "base": "#333333", "not shown": "#8fa3b5", "untested": "#c9c5bd"}
# Okabe and Ito (2008): distinguishable with colour blindness
LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000", "#f0e442")
SETTINGS = {"svg.hashsalt": "didact", "svg.fonttype": "none"}  # equal figures give equal files; text stays text


@attrs.frozen(kw_only=True, eq=False)
class Curves:
    """The values of one metric over the steps, for the runs of one variant.

    Attributes:
        variant: the variant's name.
        steps: (L,) the steps that all its runs have.
        values: (runs, L) the value of each run at each step.
    """

    variant: str
    steps: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, variant: str, runs: Sequence[Sequence[tuple[int, float]]]) -> Curves:
        """Builds the curves from the points ``(step, value)`` of several runs, at the steps that all runs have."""
        known = [dict(run) for run in runs if run]
        steps = sorted(set.intersection(*(set(run) for run in known))) if known else []
        values = np.array([[run[step] for step in steps] for run in known]).reshape(len(known), len(steps))
        return cls(variant=variant, steps=np.array(steps), values=values)


def draw_effects(comparison: Comparison) -> Figure:
    """Draws each variant's difference to the base with its interval, and the difference of each seed."""
    setting = comparison.setting
    rows = [row for row in comparison.rows if row.difference is not None or row.base][::-1]
    figure, axes = _figure(7.0, 1.3 + 0.36 * len(rows))
    base = comparison.base.values
    for place, row in enumerate(rows):
        colour = COLOURS[row.verdict]
        each = [value - base[seed] for seed, value in row.values.items() if seed in base]
        if not row.base:
            axes.plot(each, [place] * len(each), "o", color=MUTED, markersize=3.5, alpha=0.7, zorder=2)
        found = row.difference
        if found is not None and found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [place, place], color=colour, linewidth=2, zorder=3)
        axes.plot(0.0 if found is None else found.mean, place, "D", color=colour, markersize=6, zorder=4)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(rows)), [row.variant for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    direction = "higher" if setting.higher_is_better else "lower"
    axes.set_xlabel(f"{setting.metric}: difference to {comparison.base.variant!r}, {direction} is better")
    axes.set_title(
        f"{setting.name}: mean difference with its {1 - setting.level:.0%} interval; dots are seeds",
        fontsize=10,
        loc="left",
        color=INK,
    )
    axes.grid(axis="x", color="#eeeeee")
    return figure


def draw_curves(curves: Sequence[Curves], name: str, title: str) -> Figure:
    """Draws one metric over the steps for each variant: the mean over seeds, with a band of one standard deviation."""
    figure, axes = _figure(7.0, 4.2)
    for place, curve in enumerate(curves):
        if not len(curve.steps):
            continue
        colour, style = LINES[place % len(LINES)], ("-", "--", ":", "-.")[place // len(LINES) % 4]
        mean = curve.values.mean(0)
        axes.plot(curve.steps, mean, style, color=colour, linewidth=1.6, label=curve.variant)
        if len(curve.values) > 1:
            spread = curve.values.std(0, ddof=1)
            axes.fill_between(curve.steps, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(name)
    axes.set_title(title, fontsize=10, loc="left", color=INK)
    axes.grid(axis="y", color="#eeeeee")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8, labelcolor=INK)
    return figure


def draw_heat_map(cells: Mapping[tuple[str, str], float], fields: tuple[str, str], comparison: Comparison) -> Figure:
    """Draws the mean over seeds for each combination of two fields.

    Args:
        cells: ``(value of the first field, value of the second) → mean``.
        fields: the fields of the rows and of the columns.
        comparison: the comparison that the means are from.
    """
    rows, columns = (list(dict.fromkeys(cell[axis] for cell in cells)) for axis in (0, 1))
    grid = np.array([[cells.get((row, column), math.nan) for column in columns] for row in rows])  # (rows, columns)
    figure, axes = _figure(2.6 + 0.8 * len(columns), 1.6 + 0.5 * len(rows))
    image = axes.imshow(grid, cmap="viridis" if comparison.setting.higher_is_better else "viridis_r", aspect="auto")
    digits = digits_of(comparison)
    middle = (np.nanmin(grid) + np.nanmax(grid)) / 2 if not np.isnan(grid).all() else 0.0
    for (row, column), value in np.ndenumerate(grid):
        bright = (value > middle) == comparison.setting.higher_is_better
        words = "none" if math.isnan(value) else f"{value:.{digits}f}"
        axes.text(column, row, words, ha="center", va="center", fontsize=9, color=INK if bright else "white")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_ylabel(fields[0])
    axes.set_xlabel(fields[1])
    axes.set_title(f"{comparison.setting.name}: {comparison.setting.metric}", fontsize=10, loc="left", color=INK)
    figure.colorbar(image, ax=axes)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Saves the figure as ``path`` with suffixes ``.png`` and ``.svg``; equal figures give equal bytes."""
    from matplotlib import rc_context

    with rc_context(SETTINGS):  # type: ignore[arg-type]
        figure.savefig(path.with_suffix(".png"), dpi=150, metadata={"Software": None})
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def encoded(figure: Figure) -> bytes:
    """Encodes the figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")
    axes.tick_params(colors=INK, labelsize=9)
    return figure, axes
