"""The contract's machinery: the tiny parts keep the contract, and what breaks it is reported in one message.

tests/contracts/test_broken.py shows which rule catches which mistake, on plugins as their users install them.
"""

from __future__ import annotations

import subprocess
import sys

import attrs
import click
import pytest
import torch
from click.testing import CliRunner

from didact import Layout, Mask, PluginError, Spec, SpecError
from didact.cli import cli
from didact.contracts.network import Network
from didact.plugins import registry
from didact.record import RunFolder, RunRecord
from didact_kit import (
    RULES,
    BrokenRule,
    Case,
    Crash,
    Example,
    NoiseSource,
    Rule,
    TinyBackbone,
    TinyEncoder,
    TinyMasker,
    TinyObjective,
    TinySource,
    TinyTargets,
    TinyTeacher,
    check_backbone,
    check_encoder,
    check_masker,
    check_objective,
    check_source,
    check_spec,
    check_target_builder,
    check_teacher,
    contract,
    tiny_batch,
    tiny_network,
)
from didact_kit.contracts import KINDS, kind_of
from didact_kit.doubles import DOUBLES
from didact_kit.rules import checks
from didact_stores import Medium


def test_a_part_that_is_not_registered_is_checked_by_kind():
    @attrs.frozen(kw_only=True)
    class Halves(TinyMasker):
        """Half, at random."""

    check_masker(Halves(masks=2), layouts=[Layout((20,)), Layout((4, 5))])
    check_spec(Halves())


@pytest.mark.parametrize("source", [TinySource(uneven=True), TinySource(height=3, length=4), NoiseSource(uneven=True)])
def test_the_tiny_parts_are_checked_beside_each_other(source, monkeypatch):
    monkeypatch.setattr("didact_kit.kinds.RULES", tuple(rule for rule in RULES if not rule.dear))
    check_source(source)
    check_encoder(TinyEncoder(class_token=True), source=source)
    check_backbone(TinyBackbone(), 8, Layout((3, 4)), num_prefix_tokens=1)
    check_target_builder(TinyTargets(), source=source, masker=TinyMasker(masks=2))
    check_teacher(TinyTeacher(), source=source)
    check_objective(TinyObjective(), TinyTargets(), source=source, masker=TinyMasker(masks=2, corruption="drop"))


def test_a_tiny_batch_holds_the_same_samples_however_they_are_put_together():
    whole, part = tiny_batch(range(4), TinyMasker()), tiny_batch([2], TinyMasker())
    t = part.views[0].layout.positions
    assert torch.equal(whole.views[0].content[2, :, :t], part.views[0].content[0])
    assert torch.equal(whole.views[0].mask.predicted[2, :, :t], part.views[0].mask.predicted[0])
    assert whole.views[0].keys[2] == part.views[0].keys[0]
    assert isinstance(tiny_network(), Network)


def test_a_case_batches_the_same_samples_behind_the_same_masks():
    case = Case(Example(spec=TinyMasker()), "masker")
    one, again, other = case.batch(), case.batch(), case.batch(draw=1)
    assert torch.equal(one.views[0].content, again.views[0].content)
    assert torch.equal(one.views[0].mask.predicted, again.views[0].mask.predicted)
    assert not torch.equal(one.views[0].mask.predicted, other.views[0].mask.predicted)
    assert case.batch(masked=False).views[0].mask is None


@attrs.frozen(kw_only=True)
class BrokenMasker(TinyMasker):
    """Breaks one promise.

    Attributes:
        promise: which.
    """

    promise: str = "none"

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        mask = super().sample(layout, generator=generator)
        predicted = mask.predicted.clone()
        if self.promise == "all":
            return Mask.hide(torch.ones_like(predicted))
        if self.promise == "none":
            return Mask.hide(torch.zeros_like(predicted))
        if self.promise == "dtype":
            return attrs.evolve(mask, corruption=mask.corruption.long())
        if self.promise == "shape":
            return Mask.hide(predicted[:, 1:])
        raise ZeroDivisionError("no such promise")


@pytest.mark.parametrize(
    ("promise", "rule", "seen"),
    [
        ("all", "prediction", "a mask over 20 positions hides everything"),
        ("none", "prediction", "a mask over 20 positions predicts nothing"),
        ("dtype", "shapes", "corruption must be uint8, got torch.int64"),
        ("shape", "shapes", "predicted must be (M, T=20), got (1, 19)"),
    ],
)
def test_what_was_seen_is_said_in_numbers(promise, rule, seen):
    with pytest.raises(BrokenRule) as caught:
        check_masker(BrokenMasker(promise=promise), [Layout((20,)), Layout((4, 5))])
    assert caught.value.rule.name == rule
    assert seen in caught.value.seen
    first, *rest = str(caught.value).splitlines()
    assert first.startswith(f"BrokenMasker breaks the rule {rule!r}: ")
    assert [line.split()[0] for line in rest] == ["seen:", "where:", "hint:"]
    assert "test_kit.py:" in rest[1]
    fields = "" if promise == "none" else f"promise={promise!r}"  # those that differ from their defaults
    assert rest[1].endswith(f"example 1 of 1: BrokenMasker({fields})")


def test_an_error_of_ours_is_quoted_with_its_hint():
    def look(case: Case) -> None:
        raise SpecError("it is too short", where="length", hint="make it longer")

    rule = Rule(name="any", kinds=("masker",), promise="all is well", hint="correct it", look=look)
    (check,) = checks(Case(Example(spec=TinyMasker()), "masker"), [rule])
    verdict = check.judge()
    assert (verdict.outcome, verdict.says) == ("crashed", "SpecError: it is too short · length")
    assert "hint:  make it longer" in str(verdict.broken)
    assert "Traceback" not in str(verdict.broken)  # it says itself what is wrong


@pytest.mark.usefixtures("tiny")
def test_dear_rules_are_applied_to_a_components_first_example_alone():
    tried = [check for check in contract("tiny/backbone") if check.rule.name == "compilation"]
    assert [check.case.number for check in tried] == [0]
    assert sum(check.rule.name == "padding" for check in contract("tiny/backbone")) == 2


def test_rules_differ_in_name_or_kind_and_have_hints():
    pairs = [(rule.name, kind) for rule in RULES for kind in rule.kinds]
    assert len(pairs) == len(set(pairs))
    for rule in RULES:
        assert rule.name.isalpha()
        assert len(rule.hint) > 20, rule.name
        assert not rule.promise.endswith("."), rule.name


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("name", "words"),
    [("tinny", "there is no plugin 'tinny'"), ("tiny/masks", "the plugin 'tiny' (tiny-parts 1.0) has no 'masks'")],
)
def test_a_misspelt_plugin_is_named(name, words):
    with pytest.raises(PluginError) as caught:
        contract(name)
    assert words in caught.value.what
    assert "did you mean" in caught.value.hint


@pytest.mark.usefixtures("tiny")
def test_the_command_reports_what_was_kept():
    result = CliRunner().invoke(cli, ["plugin", "check", "tiny/masker", "--quick", "--rule", "shapes", "-v"])
    assert result.exit_code == 0, result.output
    assert "kept        shapes: masks are (M, T)" in result.output
    assert result.output.endswith("2 kept, 0 broken, 0 not judged\n")


@pytest.mark.usefixtures("tiny")
def test_a_component_is_shown_with_its_fields_and_uses(tmp_path):
    (tmp_path / "mine.py").write_text("from didact_kit import TinyMasker\n\nmasker = TinyMasker()\n")
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "experiment.json").write_text('{"masker": {"spec": "tiny/masker", "masks": 1}}')
    result = CliRunner().invoke(cli, ["plugin", "show", "tiny/masker", "--in", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for line in (
        "tiny/masker  masker of tiny-parts 1.0",
        "didact_kit/tiny.py:",
        "  masks: int  = 1",
        "      M per sample.",
        "  corruption: one of 'hide', 'drop'  = 'hide'",
        "  stands in: Experiment.masker",
        f"    {tmp_path / 'mine.py'}:3",
        f"    the run {run}",
    ):
        assert line in result.output


def test_the_command_line_shows_makes_extends_and_checks():
    help_text = CliRunner().invoke(cli, ["plugin", "--help"]).output
    for command in ("show", "new", "add", "check"):
        assert command in help_text


def test_no_plugin_registers_the_test_doubles():
    registered = registry().of_kind(Spec).values()
    assert not any(cls.__module__.startswith("didact_kit") for cls in registered)
    assert "tiny" not in {plugin.name for plugin in registry().plugins}


@pytest.mark.usefixtures("tiny")
def test_the_tiny_parts_keep_the_contract():
    checks = contract("tiny")
    verdicts = [check.judge() for check in checks]
    assert [str(verdict.broken) for verdict in verdicts if verdict.broken is not None] == []
    assert {f"tiny/{short}" for short in DOUBLES} < {check.case.name for check in checks}


@pytest.mark.usefixtures("tiny")
def test_an_experiment_of_tiny_parts_is_resumed_in_another_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = Case(Example(spec=TinyMasker()), "masker")
    run = tmp_path / "run"
    RunFolder.create(run, case.experiment)
    command = [sys.executable, "-m", "didact", "resume", str(run), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert RunRecord.open(run).step == 2


@attrs.frozen(kw_only=True)
class Short(TinyMasker):
    """Half, at random.

    Attributes:
        width: D.
    """

    width: int = 3


def test_a_field_may_be_documented_by_one_letter():
    check_spec(Short())


PLUGIN = """
from didact import hookimpl
from didact_kit import TinyMasker

@hookimpl
def didact_maskers():
    return {"it": TinyMasker, "gone": "didact_kit.nowhere:Gone"}

def examples(folder):
    raise ZeroDivisionError("no examples today")

@hookimpl
def didact_examples():
    return examples
"""


@pytest.mark.parametrize("words", [["failing"], ["failing/it"], ["failing/it", "--rule", "determinism"]])
def test_examples_that_fail_are_reported_and_no_defaults_are_judged(words, write_plugin, install):
    install(write_plugin("failing_parts", PLUGIN))
    result = CliRunner().invoke(cli, ["plugin", "check", *words])
    assert result.exit_code == 1, result.output
    assert "failing breaks the rule 'examples'" in result.output
    assert "ZeroDivisionError: no examples today" in result.output
    assert {check.case.kind for check in contract("failing", "failing/it")} == {"plugin"}


def test_a_class_that_cannot_be_imported_breaks_the_rule_loading(write_plugin, install):
    install(write_plugin("failing_parts", PLUGIN))
    for name in ("failing", "failing/gone"):
        (check,) = [check for check in contract(name) if check.rule.name == "loading"]
        with pytest.raises(BrokenRule, match=r"didact_kit\.nowhere:Gone"):
            check()
    with pytest.raises(PluginError, match=r"didact_kit\.nowhere:Gone"):
        CliRunner().invoke(cli, ["plugin", "show", "failing/gone"], catch_exceptions=False)


def test_a_class_without_a_contract_breaks_the_rule_loading(write_plugin, install):
    install(
        write_plugin(
            "stray_parts",
            PLUGIN.replace("didact_maskers", "didact_components").replace(
                '"it": TinyMasker, "gone": "didact_kit.nowhere:Gone"', '"it": dict'
            ),
        )
    )
    (check,) = [check for check in contract("stray") if check.rule.name == "loading"]
    with pytest.raises(BrokenRule, match="which implements no contract"):
        check()


def test_a_crash_is_reported_once_with_its_traceback_and_its_example():
    case = Case(Example(spec=BrokenMasker(promise="other")), "masker")
    verdicts = [check.judge() for check in checks(case, RULES)]
    (crash,) = [verdict for verdict in verdicts if verdict.outcome == "crashed"]
    assert [verdict for verdict in verdicts if verdict.outcome == "broken"] == []
    assert crash.check.rule.name == "shapes"
    text = str(crash.broken)
    assert text.startswith("BrokenMasker crashed when the rule 'shapes' was checked\n")
    assert "seen:  ZeroDivisionError: no such promise (test_kit.py:" in text
    assert "example 1 of 1: BrokenMasker(promise='other')" in text
    assert "hint:  fix this error first" in text
    assert "Traceback (most recent call last):" in text
    assert 'raise ZeroDivisionError("no such promise")' in text
    assert "didact_kit" not in text.partition("Traceback")[2].replace("tiny.py", "")  # the kit's own frames say nothing
    assert (verdicts[-1].outcome, verdicts[-1].met) == ("not judged", True)
    assert crash.check.judge().outcome == "crashed"  # not hidden by its own report
    other = Case(Example(spec=BrokenMasker(promise="other")), "masker", number=1, errors=case.errors)
    assert not [check for check in checks(other, RULES) if check.judge().outcome in ("broken", "crashed")]
    with pytest.raises(Crash, match="ZeroDivisionError"):
        check_masker(BrokenMasker(promise="other"), [Layout((20,)), Layout((4, 5))])


def test_an_example_that_breaks_an_essential_rule_is_not_judged_by_others():
    def look(case: Case) -> None:
        raise AssertionError("it changes its input")

    first = Rule(name="one", kinds=("masker",), promise="all is well", hint="correct it", look=look, first=True)
    second = attrs.evolve(first, name="two", first=False)
    one, two = (check.judge() for check in checks(Case(Example(spec=TinyMasker()), "masker"), [first, second]))
    assert (one.outcome, two.outcome, two.met) == ("broken", "not judged", True)
    assert "'one'" in two.says


WRAPPED = """
import attrs
from didact import Spec, hookimpl

@attrs.frozen(kw_only=True)
class Wrapped(Spec):
    'A part of no other part.'

@hookimpl
def didact_components():
    return {"it": Wrapped}
"""


def test_a_part_that_nothing_holds_is_reported_as_not_judged(write_plugin, install):
    install(write_plugin("wrapped_parts", WRAPPED))
    result = CliRunner().invoke(cli, ["plugin", "check", "wrapped/it"])
    assert result.exit_code == 0, result.output
    assert "not judged  its behaviour is not judged: no installed part has a field for it" in result.output


def test_the_kind_of_a_component_follows_from_its_class():
    assert kind_of(TinyTeacher) == "teacher"
    assert kind_of(Medium) == "medium"
    assert kind_of(click.Command("any")) == "command"
    assert kind_of(dict) is None
    assert [kind_of(contract) for contract in KINDS.values()] == list(KINDS)


def test_the_kit_works_without_didact_stores_and_imports_no_torch_before_it_checks():
    code = "import sys, didact_kit, didact_kit.plugin, didact_kit.cli.plugin; assert 'torch' not in sys.modules; "
    code += "import didact_kit.kinds; assert not any(m.startswith('didact_stores') for m in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
