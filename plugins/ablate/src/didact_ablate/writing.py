"""Writes a comparison to disk as tables and figures, and converts it to a report for observers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from didact import DataError, Report
from didact.record import RunRecord
from didact_ablate.comparison import Comparison, Result, compare, result_of
from didact_ablate.figures import Curves, draw_curves, draw_effects, draw_heat_map, encoded, save
from didact_ablate.records import curve_of
from didact_ablate.tables import caption, cost_table, numbers_table, results_table, values_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE, NUMBERS, VALUES = "table.md", "table.csv", "values.csv"


@attrs.frozen(kw_only=True, eq=False)
class Findings:
    """A comparison and the results that it was computed from.

    Attributes:
        comparison: the compared variants.
        results: the result of each run.
        heat_map: the two fields of a heat map, and ``variant → their values``; None without a heat map.
    """

    comparison: Comparison
    results: Sequence[Result]
    heat_map: tuple[tuple[str, str], Mapping[str, tuple[str, str]]] | None = None

    def under(self, **changes: Any) -> Findings:
        """Compares the same runs with changed settings, such as another metric, base or control.

        Raises:
            DataError: no variant has the name of the new base.
        """
        setting = attrs.evolve(self.comparison.setting, **changes)
        results = [_again(result, setting.metrics) if result.begun else result for result in self.results]
        return attrs.evolve(self, comparison=compare(setting, results), results=results)

    def text(self) -> str:
        """Formats the tables as Markdown, with an explanation of how to read them."""
        comparison = self.comparison
        lines = [f"# {comparison.setting.name}", "", results_table(comparison).markdown(), caption(comparison), ""]
        troubled = [result for result in self.results if result.trouble]
        lines += [f"- {result.variant}, seed {result.seed}: {result.trouble}" for result in troubled]
        lines += ["", "## Cost", "", "Mean of a run, memory at its most.", "", cost_table(comparison).markdown()]
        return "\n".join(lines)

    def figures(self) -> dict[str, Figure]:
        """Draws the figures, by name: effects, curves, and a heat map for two fields."""
        comparison = self.comparison
        name, curves = self._curves()
        drawn = {"effects": draw_effects(comparison)}
        if any(len(curve.steps) > 1 for curve in curves):
            title = f"{comparison.setting.name}: mean over seeds, band of one standard deviation"
            drawn["curves"] = draw_curves(curves, name, title)
        if self.heat_map is not None:
            fields, places = self.heat_map
            cells = {places[row.variant]: row.mean for row in comparison.rows if row.variant in places}
            drawn["heat-map"] = draw_heat_map(cells, fields, comparison)
        return drawn

    def write(self, folder: Path) -> dict[str, Figure]:
        """Writes the tables and figures into a folder and returns the figures.

        Raises:
            DataError: the disk cannot be written.
        """
        metrics = self.comparison.setting.metrics
        figures = self.figures()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / TABLE).write_text(self.text())
            (folder / NUMBERS).write_text(numbers_table(self.comparison).csv(), newline="")
            (folder / VALUES).write_text(values_table(self.results, metrics).csv(), newline="")
            for name, figure in figures.items():
                save(figure, folder / name)
        except OSError as error:
            raise DataError(
                f"the comparison cannot be written: {error.strerror or error}",
                where=str(folder),
                hint="free some space, make the folder writable, or choose another with --out",
            ) from error
        return figures

    def report(self, figures: Mapping[str, Figure]) -> Report:
        """Converts the comparison to a report: the means as metrics, the table as text, the figures as images."""
        return Report(
            metrics={row.variant: row.mean for row in self.comparison.rows if row.values},
            files={f"{name}.png": encoded(figure) for name, figure in figures.items()}
            | {"table.txt": self.text().encode()},
        )

    def _curves(self) -> tuple[str, list[Curves]]:
        """Returns the curves of the deciding metric; if it was only measured at the end, of the training loss."""
        wanted = self.comparison.setting.metric
        records = [(result.variant, RunRecord.open(result.folder)) for result in self.results if result.begun]
        name = wanted if any(len(curve_of(record, wanted)) > 1 for _, record in records) else "train/loss"
        order = [row.variant for row in self.comparison.rows]
        return name, [
            Curves.of(variant, [curve_of(record, name) for owner, record in records if owner == variant])
            for variant in order
        ]


def _again(result: Result, metrics: Sequence[str]) -> Result:
    """Reads the run's result for other metrics; keeps the reason if the run failed."""
    found = result_of(RunRecord.open(result.folder), result.variant, metrics)
    return attrs.evolve(found, trouble=result.trouble) if found.trouble == "failed" else found
