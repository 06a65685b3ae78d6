"""Tables of a comparison for the terminal, as Markdown and as CSV; the written tables can be read back exactly."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import attrs
from rich.box import SIMPLE_HEAD
from rich.table import Table as Drawing
from rich.text import Text

from didact_ablate.comparison import Comparison, Result

VERDICTS = {"better": "bold green", "worse": "bold red", "base": "bold", "not shown": "", "untested": "dim"}
WORDS = {
    "base": "base",
    "better": "better",
    "worse": "worse",
    "not shown": "no difference shown",
    "untested": "not tested",
}


@attrs.frozen(kw_only=True)
class Table:
    """Cells under headings; the first column names the subject of each row.

    Attributes:
        columns: the headings.
        rows: the rows, each with one cell for every heading.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Formats the table as Markdown; `from_markdown` is the inverse."""
        lines = [self.columns, ("---", *("---:" for _ in self.columns[1:])), *self.rows]
        return "".join(f"| {' | '.join(_escaped(cell) for cell in line)} |\n" for line in lines)

    @classmethod
    def from_markdown(cls, text: str) -> Table:
        """Parses a table that `markdown` wrote."""
        lines = [_cells(line) for line in text.split("\n") if line]
        return cls(columns=lines[0], rows=tuple(lines[2:]))

    def csv(self) -> str:
        """Formats the table as comma-separated values (RFC 4180); `from_csv` is the inverse."""
        file = io.StringIO(newline="")
        csv.writer(file, quoting=csv.QUOTE_MINIMAL).writerows([self.columns, *self.rows])
        return file.getvalue()

    @classmethod
    def from_csv(cls, text: str) -> Table:
        """Parses a table that `csv` wrote."""
        columns, *rows = (tuple(line) for line in csv.reader(io.StringIO(text, newline="")))
        return cls(columns=columns, rows=tuple(rows))


def results_table(comparison: Comparison) -> Table:
    """Tabulates means, spreads, differences and test outcomes; equal results give equal tables."""
    setting = comparison.setting
    digits = digits_of(comparison)
    reaches = [(row.mean, row.difference.reach) for row in comparison.rows if row.difference is not None]
    finer = max(digits, decimals(reaches))  # paired differences vary less, because effects of the seed cancel
    further = {metric: decimals([row.also[metric] for row in comparison.rows]) for metric in setting.also}
    columns = ("variant", setting.metric, "seeds", "difference", f"{1 - setting.level:.0%} interval", "p (Holm)", "")
    ahead = (f"ahead of {setting.control}",) if setting.control is not None else ()
    rows = []
    for row in comparison.rows:
        found = row.difference
        rows.append(
            (
                f"{row.variant} (base)" if row.base and row.variant != "base" else row.variant,
                _mean(row.mean, row.spread, digits),
                str(len(row.values)) + (f" of {len(row.values) + len(row.missing)}" if row.missing else ""),
                "" if found is None else f"{found.mean:+.{finer}f}",
                "" if found is None or found.low is None else f"{found.low:+.{finer}f} to {found.high:+.{finer}f}",
                "" if row.p is None else p_words(row.p),
                WORDS[row.verdict],
                *("" if row.ahead is None else _mean(*row.ahead, digits, sign="+") for _ in ahead),
                *(_mean(*row.also[metric], further[metric]) for metric in setting.also),
            )
        )
    return Table(columns=(*columns, *ahead, *setting.also), rows=tuple(rows))


def cost_table(comparison: Comparison) -> Table:
    """Tabulates the mean cost of a run for each variant; memory is the maximum."""
    rows = [
        (
            row.variant,
            _clock(row.training_seconds),
            _clock(row.seconds),
            "" if row.gpu_hours is None else f"{row.gpu_hours:.2f}",
            "" if row.peak_gib is None else f"{row.peak_gib:.2f} GiB",
        )
        for row in comparison.rows
    ]
    return Table(columns=("variant", "training", "in all", "GPU hours", "peak memory"), rows=tuple(rows))


def numbers_table(comparison: Comparison) -> Table:
    """Tabulates every number of the comparison at full precision, for other programs; a missing number is empty."""
    also = [part for metric in comparison.setting.also for part in (f"{metric} mean", f"{metric} sd")]
    ahead = ("ahead mean", "ahead sd") if comparison.setting.control is not None else ()
    names = ("difference", "low", "high", "p", "p_holm", "verdict")
    costs = ("training_seconds", "seconds", "gpu_hours", "peak_gib")
    rows = []
    for row in comparison.rows:
        found = row.difference
        pair = (None,) * 4 if found is None else (found.mean, found.low, found.high, found.p)
        numbers = (*pair, row.p)
        others = [number for metric in comparison.setting.also for number in row.also[metric]]
        rows.append(
            (
                row.variant,
                str(row.base).lower(),
                str(len(row.values)),
                *(_full(number) for number in (row.mean, row.spread, *numbers)),
                row.verdict,
                *(_full(number) for number in (row.ahead or (None, None))[: len(ahead)]),
                *(_full(number) for number in others),
                *(_full(getattr(row, cost)) for cost in costs),
            )
        )
    return Table(columns=("variant", "base", "seeds", "mean", "sd", *names, *ahead, *also, *costs), rows=tuple(rows))


def values_table(results: Sequence[Result], metrics: Sequence[str]) -> Table:
    """Tabulates the full results of each run, one run per row; the comparison is computed from them."""
    rows = tuple(
        (
            result.variant,
            str(result.seed),
            *(_full(result.values.get(metric)) for metric in metrics),
            result.trouble,
            str(result.folder),
        )
        for result in results
    )
    return Table(columns=("variant", "seed", *metrics, "trouble", "folder"), rows=rows)


def caption(comparison: Comparison) -> str:
    """Explains how to read the table: what was compared, and what the test assumes."""
    setting, base = comparison.setting, comparison.base
    better = "higher" if setting.higher_is_better else "lower"
    said = (
        f"{setting.metric} ({better} is better), mean ± standard deviation over seeds. Differences "
        f"from {base.variant!r} are paired by seed. "
    )
    if comparison.behind:
        named = ", ".join(map(repr, comparison.behind))
        said += f"No better than {setting.control}, the control of the same runs, on average: {named}. "
    if not comparison.tested:
        return said + "No test was possible: it needs at least two seeds, and differences that vary."
    tests = "1 difference was" if comparison.tested == 1 else f"{comparison.tested} differences were"
    return (
        f"{said}{tests} tested by a paired t-test, which assumes that the differences are independent and normal. "
        f"p is adjusted for their number (Holm), so that at most {setting.level:.0%} of such tables claim a difference "
        f"where there is none. Each interval is for one difference and is not adjusted. A difference that is not shown "
        f"may still exist: check the width of its interval."
    )


def drawn(table: Table, title: str = "") -> Drawing:
    """Formats the table for the terminal."""
    drawing = Drawing(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for index, column in enumerate(table.columns):
        drawing.add_column(Text(column), justify="left" if index == 0 else "right", no_wrap=True)
    styles = {WORDS[verdict]: style for verdict, style in VERDICTS.items()}
    for row in table.rows:
        drawing.add_row(*(Text(cell, style=styles.get(cell, "") if index else "") for index, cell in enumerate(row)))
    return drawing


def digits_of(comparison: Comparison) -> int:
    """The number of decimals for the deciding metric."""
    return decimals([(row.mean, row.spread) for row in comparison.rows])


def decimals(values: Sequence[tuple[float, float | None]]) -> int:
    """The decimals that show the median spread of ``(mean, spread)`` with two digits; or the largest mean with four."""
    spreads = sorted(spread for _, spread in values if spread)
    means = [abs(mean) for mean, _ in values if mean and not math.isnan(mean)]
    size = 100 * spreads[len(spreads) // 2] if spreads else max(means, default=1.0)
    return min(8, max(0, 3 - math.floor(math.log10(size))))


def p_words(p: float) -> str:
    """Formats a p-value as papers print it."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _mean(mean: float, spread: float | None, digits: int, sign: str = "") -> str:
    if math.isnan(mean):
        return "none"
    return f"{mean:{sign}.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def _full(number: float | None) -> str:
    return "" if number is None else repr(float(number))


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d} min"


def _escaped(cell: str) -> str:
    for sign, written in (("\\", "\\\\"), ("|", "\\|"), ("\r", "\\r"), ("\n", "\\n")):
        cell = cell.replace(sign, written)
    return cell


def _cells(line: str) -> tuple[str, ...]:
    """Splits a line of a Markdown table into its cells."""
    cells, cell, escaped = [], "", False
    for sign in line[1:]:
        if escaped:
            cell += {"r": "\r", "n": "\n"}.get(sign, sign)
            escaped = False
        elif sign == "\\":
            escaped = True
        elif sign == "|":
            cells.append(cell[1:-1])
            cell = ""
        else:
            cell += sign
    return tuple(cells)
