"""The commands ``didact compare`` and ``didact diff``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from didact import DataError

if TYPE_CHECKING:
    from didact.record import RunRecord
    from didact_ablate.writing import Findings

RUNS = click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder in which names and tags are searched.",
)


@click.command("compare", short_help="Compare runs and variants.")
@click.argument("references", nargs=-1, required=True, metavar="RUNS…")
@click.option("--metric", help="The deciding metric, such as classes/linear.  [default: the study's, or the only one]")
@click.option("--also", multiple=True, metavar="METRIC", help="Another metric to show. Repeatable.")
@click.option("--base", help="The variant that the others are compared with.  [default: the study's, or the first]")
@click.option("--control", help="A metric of the same run to improve on, such as classes/linear_random.")
@click.option("--lower-is-better", is_flag=True, help="A lower value of the metric is better.")
@click.option(
    "--level", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Rate of false alarms.  [default: 0.05]"
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "markdown", "csv", "values"]),
    default="terminal",
    show_default=True,
    help="csv: all numbers of each variant; values: all values of each run.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for tables and figures (PNG and SVG).")
@click.option("--repo", default=".", show_default=True, help="Aim repository that aim:QUERY searches.")
@RUNS
def compare_command(
    references: tuple[str, ...],
    metric: str | None,
    also: tuple[str, ...],
    base: str | None,
    control: str | None,
    lower_is_better: bool,
    level: float | None,
    form: str,
    out: Path | None,
    repo: str,
    runs: Path,
) -> None:
    """Compare runs: mean and spread over seeds, paired differences to the base, a test, and the cost.

    RUNS are the folder or the name of a study, or any runs: by folder, by the name of their experiment, by tag:TAG, or
    by aim:QUERY. Runs that belong to no study are grouped by the fields in which they differ; runs that differ only in
    their seed form one variant.
    """
    from didact_ablate.study import show, terminal
    from didact_ablate.tables import numbers_table, values_table

    study = _study_folder(references, runs)
    known = _of_study(study) if study is not None else _of_any(references, metric, runs, repo)
    changes = {"metric": metric, "also": also, "base": base, "control": control, "level": level}
    changes = {field: value for field, value in changes.items() if value}
    findings = known.under(**changes, **({"higher_is_better": False} if lower_is_better else {}))
    setting = findings.comparison.setting
    if form == "terminal":
        show(findings, terminal())
    elif form == "markdown":
        click.echo(findings.text(), nl=False)
    elif form == "csv":
        click.echo(numbers_table(findings.comparison).csv(), nl=False)
    else:
        click.echo(values_table(findings.results, setting.metrics).csv(), nl=False)
    if out is not None:
        findings.write(out)
        click.echo(f"tables and figures: {out}", err=True)


@click.command("diff", short_help="Show the differences between two runs.")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
def diff_command(first: Path, second: Path) -> None:
    """Show the differences between two runs: fields, data, versions, environment, curves and results."""
    from rich.console import Console

    from didact.record import RunRecord
    from didact_ablate.differing import differences

    console = Console(highlight=False, soft_wrap=True)
    for line in differences(RunRecord.open(first), RunRecord.open(second)):
        console.print(line, markup=False)


def _study_folder(references: Sequence[str], runs: Path) -> Path | None:
    """Returns the folder of the study that the references name, or None."""
    if len(references) != 1:
        return None
    places = (Path(references[0]), runs / references[0])
    return next((place for place in places if (place / "study.json").exists()), None)


def _of_study(folder: Path) -> Findings:
    from didact_ablate.study import findings_of

    return findings_of(folder)


def _of_any(references: Sequence[str], metric: str | None, runs: Path, repo: str) -> Findings:
    """Groups the runs that the references name into variants."""
    from didact_ablate.comparison import Setting, compare, result_of
    from didact_ablate.selecting import select, variant_names
    from didact_ablate.writing import Findings

    records = select(references, runs, repo)
    names = variant_names(records)
    decides = metric if metric is not None else _only_metric(records)
    setting = Setting(name=" ".join(references), metric=decides, base=_first(names))
    results = [result_of(record, names[record.folder], (decides,)) for record in records]
    return Findings(comparison=compare(setting, results), results=results)


def _first(names: dict[Path, str]) -> str:
    values = list(dict.fromkeys(names.values()))
    return "base" if "base" in values else values[0]


def _only_metric(records: Sequence[RunRecord]) -> str:
    known = sorted(set.intersection(*(set(record.found) for record in records)))
    if len(known) == 1:
        return known[0]
    raise DataError(
        "which metric decides?" if known else "the runs have no evaluation's metric in common",
        where="--metric",
        hint=f"name one with --metric: {', '.join(known) or 'such as train/loss'}",
    )
