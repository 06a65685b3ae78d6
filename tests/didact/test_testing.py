"""The contract's machinery: the tiny parts keep it, and what breaks it is told in one message.

Which rule catches which mistake is tried in tests/contracts/test_broken.py, on plugins as their users install them.
"""

from __future__ import annotations

import attrs
import pytest
import torch
from click.testing import CliRunner

from didact import Layout, Mask, PluginError, SpecError
from didact.cli import cli
from didact.learner import Network
from didact.testing import (
    RULES,
    BrokenRule,
    Case,
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
from didact.testing.rules import checks


def test_a_part_that_nobody_registered_is_checked_by_kind():
    @attrs.frozen(kw_only=True)
    class Halves(TinyMasker):
        """Half, at random."""

    check_masker(Halves(masks=2), layouts=[Layout((20,)), Layout((4, 5))])
    check_spec(Halves())


@pytest.mark.parametrize("source", [TinySource(uneven=True), TinySource(height=3, length=4), NoiseSource(uneven=True)])
def test_the_tiny_parts_are_checked_beside_each_other(source, monkeypatch):
    monkeypatch.setattr("didact.testing.kinds.RULES", tuple(rule for rule in RULES if not rule.dear))
    check_source(source)
    check_encoder(TinyEncoder(class_token=True), source=source)
    check_backbone(TinyBackbone(), 8, Layout((3, 4)), extra=1)
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
        ("dtype", "shapes", "corruption is uint8, not torch.int64"),
        ("shape", "shapes", "predicted is (M, T=20), got (1, 19)"),
        ("other", "shapes", "ZeroDivisionError: no such promise (test_testing.py:"),
    ],
)
def test_what_was_seen_is_said_in_numbers(promise, rule, seen):
    with pytest.raises(BrokenRule) as caught:
        check_masker(BrokenMasker(promise=promise), [Layout((20,)), Layout((4, 5))])
    assert caught.value.rule.name == rule
    assert seen in caught.value.seen
    first, *rest = str(caught.value).splitlines()
    assert first.startswith(f"BrokenMasker breaks the rule {rule!r}: ")
    assert [line.split()[0] for line in rest] == ["seen:", "where:", "mend:"]
    assert "test_testing.py:" in rest[1]


def test_an_error_of_ours_is_quoted_with_its_mend():
    def look(case: Case) -> None:
        raise SpecError("it is too short", where="length", mend="make it longer")

    rule = Rule(name="any", kinds=("masker",), promise="all is well", mend="mend it", look=look)
    (check,) = checks(Case(Example(spec=TinyMasker()), "masker"), [rule])
    assert check.judge().says == "it is too short · length · make it longer"


def test_dear_rules_are_tried_on_a_components_first_example_alone():
    tried = [check for check in contract("tiny/backbone") if check.rule.name == "compilation"]
    assert [check.case.number for check in tried] == [0]
    assert sum(check.rule.name == "padding" for check in contract("tiny/backbone")) == 2


def test_rules_are_told_apart_by_name_and_kind_and_say_how_they_are_kept():
    pairs = [(rule.name, kind) for rule in RULES for kind in rule.kinds]
    assert len(pairs) == len(set(pairs))
    for rule in RULES:
        assert rule.name.isalpha()
        assert len(rule.mend) > 20, f"{rule.name} says how it is kept"
        assert not rule.promise.endswith("."), rule.name


@pytest.mark.parametrize(
    ("name", "words"),
    [("tinny", "there is no plugin 'tinny'"), ("tiny/masks", "the plugin 'tiny' (didact 0.1.0) has no 'masks'")],
)
def test_a_misspelt_plugin_is_named(name, words):
    with pytest.raises(PluginError) as caught:
        contract(name)
    assert words in caught.value.what
    assert "did you mean" in caught.value.mend


def test_the_command_tells_what_was_kept():
    result = CliRunner().invoke(cli, ["plugin", "check", "tiny/masker", "--quick", "--rule", "shapes", "-v"])
    assert result.exit_code == 0, result.output
    assert "kept        shapes: masks are (M, T)" in result.output
    assert result.output.endswith("2 kept, 0 broken, 0 not judged\n")


def test_a_component_is_shown_with_its_fields_and_uses(tmp_path):
    (tmp_path / "mine.py").write_text("from didact.testing import TinyMasker\n\nmasker = TinyMasker()\n")
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "experiment.json").write_text('{"masker": {"spec": "tiny/masker", "masks": 1}}')
    result = CliRunner().invoke(cli, ["plugin", "show", "tiny/masker", "--in", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for line in (
        "tiny/masker  masker of didact ",
        "testing/tiny.py:",
        "  masks: int  = 1",
        "      M per sample.",
        "  corruption: one of 'hide', 'drop'  = 'hide'",
        "  stands in: Experiment.masker",
        f"    {tmp_path / 'mine.py'}:3",
        f"    the run {run}",
    ):
        assert line in result.output


def test_the_command_line_lists_shows_makes_and_checks_under_both_names():
    for word in ("plugin", "plugins"):
        help_text = CliRunner().invoke(cli, [word, "--help"]).output
        for command in ("show", "new", "check"):
            assert command in help_text
