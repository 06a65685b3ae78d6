"""The ablation as a value: its variants, their names, and their common settings."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
import torch

from didact import SpecError, build_learner
from didact.batching import BatchPlan
from didact.experiment_file import load
from didact.loading import Steps
from didact.plugins import registry
from didact.serialization import to_data
from didact_ablate import Ablation
from didact_ablate.identity import identity
from didact_ablate.naming import folder_name, short_names, value_words


@pytest.fixture
def study(project) -> Ablation:
    found, _ = load("study.py")
    return found


def names(study: Ablation) -> list[str]:
    return [row.name for row in study.rows()]


def test_a_value_that_the_base_has_is_the_base(study):
    rows = study.rows()
    assert names(study) == ["k=2", "k=1", "k=4", "shallow"]
    assert [row.base for row in rows] == [True, False, False, False]
    assert rows[0].experiment == study.base


def test_each_field_is_varied_alone_and_a_grid_is_every_combination(study):
    vary = study.evolve(variants={}, vary={"targets.k": (1, 3), "targets.feature": ("block", "attention")})
    assert names(vary) == ["base", "k=1", "k=3", "feature=block", "feature=attention"]
    grid = study.evolve(variants={}, vary={}, grid={"targets.k": (1, 2), "targets.feature": ("ffn", "block")})
    assert names(grid) == ["k=2, feature=ffn", "k=1, feature=ffn", "k=1, feature=block", "k=2, feature=block"]
    assert grid.heat_map() == ("targets.k", "targets.feature")


def test_a_variant_may_swap_whole_parts_and_fields_that_go_together(study):
    wide = {"encoder.width": 16, "backbone.depth": 2}
    rows = study.evolve(vary={}, variants={"wide": wide}).rows()
    assert (rows[1].experiment.encoder.width, rows[1].experiment.backbone.depth) == (16, 2)


def test_a_method_is_an_experiment_of_its_own(study):
    other = study.base.evolve(**{"backbone.depth": 3, "training.steps": 30})
    methods = study.evolve(vary={}, variants={}, methods={"small": other, "same": study.base})
    assert names(methods) == ["same", "small"]
    small = methods.rows()[1]
    assert (small.experiment, small.base) == (other, False)
    member = methods.member(small, 1)
    assert (member.training.steps, member.training.seed, member.name) == (30, 1, "toys")
    assert member.labels == {"study": "toys", "variant": "small", "seed": 1}
    assert {row.experiment.training.steps for row in methods.evolve(steps=7).rows()} == {7}
    with pytest.raises(SpecError, match="names the evaluation and its metric") as caught:
        methods.evolve(methods={"blind": other.evolve(evaluations={})})
    assert caught.value.where == "methods, blind"
    with pytest.raises(SpecError, match="called something else than 'base'"):
        methods.evolve(methods={"base": other})


def test_the_budget_is_of_every_variant(study):
    assert {row.experiment.training.steps for row in study.evolve(steps=7).rows()} == {7}


def test_every_run_says_its_study_variant_and_seed(study):
    (row, *_) = study.rows()
    member = study.member(row, 5)
    assert member.labels == {"study": "toys", "variant": "k=2", "seed": 5}
    assert member.training.seed == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vary": {"targets.kk": (1,)}}, "has no field 'kk'"),
        ({"vary": {"targets.k": (0,)}}, "k must be at least 1"),
        ({"vary": {"training.seed": (0, 1)}}, "not a choice to ablate"),
        ({"vary": {}, "variants": {}}, "nothing is varied"),
        ({"vary": {"training.num_workers": (0, 1)}, "variants": {}}, "nothing is varied"),
        ({"metric": "probe/linear"}, "names the evaluation and its metric"),
        ({"control": "probe/random"}, "Ablation.control names the evaluation and its metric"),
        ({"metric": "judge"}, "names the evaluation and its metric"),
        ({"seeds": (1, 1)}, "seeds must be different"),
        ({"seeds": ()}, "seeds must be at least one"),
        ({"variants": {"k=1": {"targets.k": 3}}}, "two variants are called 'k=1'"),
        ({"name": "a study"}, "letters, digits"),
    ],
)
def test_a_mistake_is_told_when_the_file_is_read(study, changes, words):
    with pytest.raises(SpecError, match=words):
        study.evolve(**changes)


def test_a_study_is_plain_data(study):
    data = json.loads(json.dumps(to_data(study, registry().name_of)))
    assert data["spec"] == "ablate/ablation"
    assert data["vary"] == {"targets.k": [1, 2, 4]}


def test_names_are_short_and_unlike():
    assert short_names(["targets.k", "backbone.depth"]) == {"targets.k": "k", "backbone.depth": "depth"}
    fields = ["encoder.width", "backbone.width"]
    assert short_names(fields) == {field: field for field in fields}
    assert folder_name("k=1, feature=block") == "k=1-feature=block"
    assert value_words((0.9, None, True)) == "(0.9, none, true)"


def test_a_part_is_named_by_what_is_not_its_default(study):
    assert value_words(study.base.targets.teacher) == "EMATeacher(start=0.9, end=0.99)"


# ── What is equal between the variants of a seed, by construction ─────────────────────────────────────────────────────


def _pairs(study: Ablation, seed: int):
    base, *others = (study.member(row, seed) for row in study.rows())
    return base, others


def _first_steps(experiment, count: int = 5):
    samples = experiment.source.open()
    steps = Steps(experiment, BatchPlan(samples.lengths, experiment.training.batch, experiment.training.seed))
    return [steps[step] for step in range(count)]


@pytest.mark.parametrize("seed", [0, 3])
def test_variants_of_a_seed_see_the_same_samples_behind_the_same_masks(study, seed):
    base, others = _pairs(study, seed)
    for other in others:
        for mine, theirs in zip(_first_steps(base), _first_steps(other), strict=True):
            for one, two in zip(mine.parts, theirs.parts, strict=True):
                assert torch.equal(one.ids, two.ids)
                for view, twin in zip(one.views, two.views, strict=True):
                    assert torch.equal(view.content, twin.content)
                    assert torch.equal(view.mask.predicted, twin.mask.predicted)
                    assert torch.equal(view.keys, twin.keys)


def test_another_masker_changes_the_masks_alone(study):
    base, _ = _pairs(study, 0)
    other = attrs.evolve(base, masker=base.masker.evolve(masks=1))
    for mine, theirs in zip(_first_steps(base), _first_steps(other), strict=True):
        assert torch.equal(mine.parts[0].ids, theirs.parts[0].ids)
        assert torch.equal(mine.parts[0].views[0].content, theirs.parts[0].views[0].content)


def test_other_seeds_see_other_orders(study):
    (zero, _), (one, _) = _pairs(study, 0), _pairs(study, 1)
    assert not torch.equal(_first_steps(zero)[0].parts[0].ids, _first_steps(one)[0].parts[0].ids)


def test_parts_that_are_equal_start_from_equal_weights(study):
    base, others = _pairs(study, 1)
    mine = build_learner(base)
    for other in others:
        theirs = build_learner(other)
        for field in ("encoder", "backbone", "objective"):
            if getattr(base, field) == getattr(other, field):
                one, two = (
                    learner.objective if field == "objective" else getattr(learner.network, field)
                    for learner in (mine, theirs)
                )
                weights = one.state_dict()
                assert weights.keys() == two.state_dict().keys()
                assert all(torch.equal(weights[name], value) for name, value in two.state_dict().items())
    assert any(other.backbone != base.backbone for other in others)  # the encoder's were compared there, too


# ── Identity ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def what(experiment) -> str:
    return identity(registry().data_of(experiment))


def test_what_judges_watches_or_records_a_run_does_not_make_it_another(study):
    base = study.base
    same = base.evolve(**{"name": "other", "evaluations": {}, "training.log_every": 1, "training.num_workers": 1})
    same = attrs.evolve(same, labels={"study": "x"})
    assert what(same) == what(base)


@pytest.mark.parametrize(
    "field", ["training.seed", "training.steps", "targets.k", "training.gradient_accumulation_steps"]
)
def test_what_decides_the_weights_makes_it_another(study, field):
    value = {"training.gradient_accumulation_steps": 2}.get(field, 3)
    assert what(study.base.evolve(**{field: value})) != what(study.base)


def test_how_often_checkpoints_are_written_matters_where_a_run_may_roll_back(study):
    other = {"training.checkpoint_every": 7}
    assert what(study.base.evolve(**other)) == what(study.base)
    rolling = study.base.evolve(**{"training.nonfinite": "rollback"})
    assert what(rolling.evolve(**other)) != what(rolling)


def test_a_file_may_build_on_the_experiment_of_another(project):
    from didact_ablate import experiment_in

    (project / "deeper").mkdir()
    (project / "one.py").write_text((project / "study.py").read_text().replace("study = Ablation", "_ = Ablation"))
    text = 'from didact_ablate import experiment_in\nexperiment = experiment_in("../one.py:base", beside=__file__)\n'
    (project / "deeper" / "two.py").write_text(text)
    found, path = load("deeper/two.py")
    assert (found.name, path) == ("toy", Path("deeper/two.py"))
    assert experiment_in("one.py:base") == found
