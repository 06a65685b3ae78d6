"""Comparisons are read back as they were written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from didact_ablate.comparison import Result, Setting, compare
from didact_ablate.figures import Curves, draw_curves, draw_effects, draw_heat_map, encoded, save
from didact_ablate.tables import (
    Table,
    caption,
    decimals,
    drawn,
    numbers_table,
    results_table,
    values_table,
)
from didact_ablate.writing import Findings

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines may be busy
texts = st.text(st.characters(codec="utf-8"), max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False, width=64)


@st.composite
def tables(draw) -> Table:
    width = draw(st.integers(1, 5))
    cells = st.tuples(*[texts] * width)
    return Table(columns=draw(cells), rows=tuple(draw(st.lists(cells, max_size=6))))


@unhurried
@given(tables())
def test_a_table_survives_markdown(table):
    assert Table.from_markdown(table.markdown()) == table


@unhurried
@given(tables())
def test_a_table_survives_csv(table):
    assert Table.from_csv(table.csv()) == table


@st.composite
def results(draw) -> list[Result]:
    names = draw(st.lists(texts.filter(bool), min_size=2, max_size=4, unique=True))
    moderate = st.floats(-1e6, 1e6)
    return [
        Result(variant=name, seed=seed, values={"a/b": draw(moderate), "c/d": draw(finite)})
        for name in names
        for seed in range(draw(st.integers(1, 4)))
    ]


def read_values(table: Table) -> list[Result]:
    """The results that `values_table` wrote, without what they cost."""
    _, _, *metrics, _, _ = table.columns
    return [
        Result(
            variant=variant,
            seed=int(seed),
            values={metric: float(cell) for metric, cell in zip(metrics, cells, strict=True) if cell},
            trouble=trouble,
            folder=Path(folder),
        )
        for variant, seed, *cells, trouble, folder in table.rows
    ]


@unhurried
@given(results())
def test_a_comparison_follows_from_its_values_as_csv(found):
    table = values_table(found, ("a/b", "c/d"))
    again = read_values(Table.from_csv(table.csv()))
    assert [(one.variant, one.seed, dict(one.values)) for one in again] == [
        (one.variant, one.seed, dict(one.values)) for one in found
    ]
    setting = Setting(name="s", metric="a/b", base=found[0].variant)
    assert results_table(compare(setting, again)) == results_table(compare(setting, found))


@unhurried
@given(results())
def test_every_number_is_in_the_csv_in_full(found):
    comparison = compare(Setting(name="s", metric="a/b", base=found[0].variant), found)
    table = Table.from_csv(numbers_table(comparison).csv())
    places = {column: place for place, column in enumerate(table.columns)}
    for row, cells in zip(comparison.rows, table.rows, strict=True):
        assert cells[places["variant"]] == row.variant
        assert float(cells[places["mean"]]) == row.mean
        pair = row.difference
        assert cells[places["p"]] == ("" if pair is None or pair.p is None else repr(pair.p))
        assert cells[places["verdict"]] == row.verdict


@pytest.mark.parametrize(
    ("values", "wanted"),
    [([(62.1, 1.234)], 1), ([(0.5, 0.0123)], 3), ([(61234.0, 250.0)], 0), ([(0.02, None)], 5), ([(math.nan, None)], 3)],
)
def test_numbers_have_the_digits_that_their_spread_allows(values, wanted):
    assert decimals(values) == wanted


def three_seeds(*effects: tuple[str, float], also: float = 1.0) -> list[Result]:
    rng = np.random.default_rng(0)
    return [
        Result(variant=name, seed=seed, values={"a/b": 50 + effect + seed + rng.normal() / 10, "c/d": also * seed})
        for name, effect in effects
        for seed in range(3)
    ]


@pytest.fixture
def comparison():
    setting = Setting(name="layers", metric="a/b", base="k=2", also=("c/d",))
    return compare(setting, three_seeds(("k=1", -8.0), ("k=2", 0.0), ("k=4", 0.05)))


def test_the_table_says_what_a_reader_asks_for(comparison):
    table = results_table(comparison)
    assert table.columns == ("variant", "a/b", "seeds", "difference", "95% interval", "p (Holm)", "", "c/d")
    by_name = {row[0]: row for row in table.rows}
    assert set(by_name) == {"k=1", "k=2 (base)", "k=4"}
    assert by_name["k=1"][6] == "worse"
    assert float(by_name["k=1"][3]) == pytest.approx(-8, abs=0.5)
    assert by_name["k=2 (base)"][3:6] == ("", "", "")
    assert by_name["k=4"][6] == "no difference shown"
    assert table.rows[-1][0] == "k=1"  # best first
    assert "paired t-test" in caption(comparison)
    assert "Holm" in caption(comparison)


def controlled(*gains: tuple[str, tuple[float, float]], higher_is_better: bool = True):
    """A comparison whose runs, two for each variant, are so far ahead of their control."""
    found = [
        Result(variant=name, seed=seed, values={"a/b": 50.0 + gain, "a/b_random": 50.0})
        for name, gained in gains
        for seed, gain in enumerate(gained)
    ]
    base = gains[0][0]
    setting = Setting(
        name="s", metric="a/b", base=base, control="a/b_random", also=("c/d",), higher_is_better=higher_is_better
    )
    return compare(setting, found)


def test_the_table_says_how_far_each_variant_is_ahead_of_its_control():
    comparison = controlled(("learns", (4.0, 6.0)), ("does not", (-2.0, 1.0)), ("level", (0.0, 0.0)))
    table = results_table(comparison)
    place = table.columns.index("ahead of a/b_random")
    ahead = {row[0]: row[place] for row in table.rows}
    assert ahead == {"learns (base)": "+5.0 ± 1.4", "level": "+0.0 ± 0.0", "does not": "-0.5 ± 2.1"}
    assert comparison.behind == ("level", "does not")
    assert "No better than a/b_random, the control of the same runs, on average: 'level', 'does not'." in caption(
        comparison
    )
    numbers = numbers_table(comparison)
    row = dict(zip(numbers.columns, next(row for row in numbers.rows if row[0] == "learns"), strict=True))
    assert float(row["ahead mean"]) == 5.0
    assert float(row["ahead sd"]) == pytest.approx(2**0.5)


def test_where_less_is_better_ahead_is_below_the_control():
    comparison = controlled(("learns", (-4.0, -6.0)), ("does not", (2.0, 3.0)), higher_is_better=False)
    assert {row.variant: row.ahead[0] for row in comparison.rows} == {"learns": 5.0, "does not": -2.5}
    assert comparison.behind == ("does not",)


def test_a_control_that_a_run_lacks_is_left_out_and_without_one_nothing_is_said_of_it():
    found = [Result(variant=name, seed=seed, values={"a/b": 1.0 + seed}) for name in ("one", "two") for seed in (0, 1)]
    without = compare(Setting(name="s", metric="a/b", base="one", control="a/b_random"), found)
    assert [row.ahead for row in without.rows] == [None, None]
    assert [row[7] for row in results_table(without).rows] == ["", ""]
    plain = compare(Setting(name="s", metric="a/b", base="one"), found)
    assert not any("ahead" in column for column in (*results_table(plain).columns, *numbers_table(plain).columns))


def test_the_terminal_shows_names_as_they_are(capsys):
    from rich.console import Console

    Console(width=120).print(drawn(Table(columns=("variant", "x"), rows=(("[bold]betas[/bold]=(0.9, 1)", "1"),))))
    assert "[bold]betas[/bold]=(0.9, 1)" in capsys.readouterr().out


def test_figures_are_png_and_svg_and_the_same_each_time(comparison, tmp_path):
    curves = [Curves.of(name, [[(1, 2.0), (5, 1.0)], [(1, 2.5), (5, 1.5), (9, 1.0)]]) for name in ("k=1", "k=2")]
    cells = {("1", "ffn"): 1.0, ("1", "block"): 2.0, ("2", "ffn"): math.nan, ("2", "block"): 3.0}
    for again in ("first", "second"):
        (tmp_path / again).mkdir()
        figures = {
            "effects": draw_effects(comparison),
            "curves": draw_curves(curves, "train/loss", "t"),
            "heat-map": draw_heat_map(cells, ("k", "feature"), comparison),
        }
        for name, figure in figures.items():
            save(figure, tmp_path / again / name)
            assert encoded(figure).startswith(b"\x89PNG")
    for name in ("effects", "curves", "heat-map"):
        for suffix in ("png", "svg"):
            one, two = ((tmp_path / again / f"{name}.{suffix}").read_bytes() for again in ("first", "second"))
            assert one == two
        image = np.asarray(Image.open(tmp_path / "first" / f"{name}.png"))
        assert image.std() > 0
        text = "".join(ElementTree.parse(tmp_path / "first" / f"{name}.svg").getroot().itertext())
        assert {"effects": "k=4", "curves": "train/loss", "heat-map": "feature"}[name] in text


def test_curves_are_taken_at_the_steps_that_all_seeds_have():
    curves = Curves.of("k=1", [[(1, 2.0), (5, 1.0)], [(1, 4.0), (5, 3.0), (9, 1.0)], []])
    assert curves.steps.tolist() == [1, 5]
    assert curves.values.tolist() == [[2.0, 1.0], [4.0, 3.0]]


def test_everything_is_written_into_one_folder(comparison, tmp_path):
    found = Findings(comparison=comparison, results=three_seeds(("k=1", -8.0), ("k=2", 0.0), ("k=4", 0.05)))
    report = found.report(found.write(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "effects.png",
        "effects.svg",
        "table.csv",
        "table.md",
        "values.csv",
    ]
    assert report.files["table.txt"] == (tmp_path / "out" / "table.md").read_bytes()
    assert list(report.files) == ["effects.png", "table.txt"]
    assert set(report.metrics) == {"k=1", "k=2", "k=4"}
    assert json.dumps(dict(report.metrics))
