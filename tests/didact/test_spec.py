"""Specs: validation at construction, conversion to plain data and back, and changes by dotted field names."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from didact import PluginError, Spec, SpecError
from didact.serialization import fingerprint, from_data, override, to_data
from didact.spec import field_documentation


@attrs.frozen(kw_only=True)
class Head(Spec):
    """A base that others inherit.

    Attributes:
        width: of the output,
            counted in channels.
    """

    width: int = 4

    def validate(self) -> None:
        self.require(self.width >= 1, "width", "at least 1")


@attrs.frozen(kw_only=True)
class Deep(Head):
    """A head with a field of its own.

    Attributes:
        layers: how many.
    """

    layers: int = 2

    def validate(self) -> None:
        super().validate()
        self.require(self.width % self.layers == 0, "layers", f"a divisor of width ({self.width})")


@attrs.frozen(kw_only=True)
class Recipe(Spec):
    """All kinds of fields.

    Attributes:
        name: of the recipe.
        rate: a share; the paper uses 0.65.
        limit: of something, or None.
        kind: which.
        flag: yes or no.
        shape: of a kernel and its stride.
        sizes: any number of them.
        folder: on disk.
        head: that predicts.
        heads: by name.
        stack: one after the other.
        maybe: a head or none.
    """

    name: str
    rate: float = 0.65
    limit: int | None = None
    kind: Literal["hide", "drop"] = "hide"
    flag: bool = False
    shape: tuple[int, float] = (3, 1.0)
    sizes: tuple[int, ...] = ()
    folder: Path = Path("stores")
    head: Head = Head()
    heads: Mapping[str, Head] = attrs.field(factory=dict)
    stack: tuple[Head, ...] = ()
    maybe: Head | None = None

    def validate(self) -> None:
        self.require(0 <= self.rate <= 1, "rate", "between 0 and 1")


REGISTERED = {"test/head": Head, "test/deep": Deep}


def name_of(cls: type[Spec]) -> str | None:
    return {cls: name for name, cls in REGISTERED.items()}.get(cls)


def class_of(name: str) -> type[Spec]:
    if name not in REGISTERED:
        raise PluginError(f"{name} is not installed")
    return REGISTERED[name]


def heads() -> st.SearchStrategy[Head]:
    plain = st.builds(Head, width=st.integers(1, 99))
    deep = st.integers(1, 9).flatmap(
        lambda layers: st.builds(Deep, layers=st.just(layers), width=st.integers(1, 9).map(lambda n: n * layers))
    )
    return plain | deep


def recipes() -> st.SearchStrategy[Recipe]:
    return st.builds(
        Recipe,
        name=st.text(),
        rate=st.floats(0, 1) | st.integers(0, 1),
        limit=st.none() | st.integers(),
        kind=st.sampled_from(["hide", "drop"]),
        flag=st.booleans(),
        shape=st.tuples(st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
        sizes=st.lists(st.integers()).map(tuple),
        folder=st.sampled_from([Path("a/b"), Path("/c")]),
        head=heads(),
        heads=st.dictionaries(st.text(), heads(), max_size=3),
        stack=st.lists(heads(), max_size=3).map(tuple),
        maybe=st.none() | heads(),
    )


def error_of(call, *arguments, **fields) -> SpecError:
    with pytest.raises(SpecError) as caught:
        call(*arguments, **fields)
    return caught.value


# ── making one ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_value_out_of_range_names_field_rule_and_value_and_mends_with_the_fields_own_text():
    error = error_of(Recipe, name="x", rate=1.3)
    assert error.what == "Recipe.rate must be between 0 and 1, got 1.3"
    assert error.where == "rate"
    assert error.hint == "a share; the paper uses 0.65."


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rate": "0.5"}, "Recipe.rate must be float, got '0.5' (str)"),
        ({"kind": "hid"}, "Recipe.kind must be one of 'hide', 'drop', got 'hid' (str)"),
        ({"limit": 1.5}, "Recipe.limit must be int or None, got 1.5 (float)"),
        ({"limit": True}, "Recipe.limit must be int or None, got True (bool)"),
        ({"flag": 1}, "Recipe.flag must be bool, got 1 (int)"),
        ({"sizes": (1, "2")}, "Recipe.sizes must be tuple[int, ...], got (1, '2') (tuple)"),
        ({"heads": {"a": 3}}, "Recipe.heads must be"),
        ({"head": Head}, "Recipe.head must be Head"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_type_in_words(fields, words):
    assert error_of(Recipe, name="x", **fields).what.startswith(words)


def test_a_misspelt_field_suggests_the_right_one():
    error = error_of(Recipe, name="x", rat=0.5)
    assert (error.what, error.where, error.hint) == ("Recipe has no field 'rat'", "rat", "did you mean rate?")


def test_a_missing_field_is_named_with_its_text():
    error = error_of(Recipe)
    assert (error.what, error.where, error.hint) == ("Recipe.name is missing", "name", "of the recipe.")


def test_positional_values_are_refused_with_the_names_to_use():
    assert "takes its fields by name" in error_of(Head, 3).what
    assert "width" in error_of(Head, 3).hint


def test_types_are_checked_before_ranges():
    assert "must be int" in error_of(Deep, width="4").what  # validate would have failed on '4' % 2


def test_specs_are_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Head().width = 3


def test_field_texts_are_inherited_and_joined_to_one_line():
    assert field_documentation(Deep) == {"width": "of the output, counted in channels.", "layers": "how many."}


def test_specs_survive_pickling_and_their_errors_too():
    recipe = Recipe(name="x", stack=(Deep(),))
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    error = error_of(Recipe, name="x", rate=1.3)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# ── plain data and back ───────────────────────────────────────────────────────────────────────────────────────────────


@given(recipes())
def test_data_through_json_gives_an_equal_spec(recipe):
    data = json.loads(json.dumps(to_data(recipe, name_of)))
    assert from_data(data, Recipe, class_of) == recipe


@given(recipes())
def test_reading_data_back_does_not_change_the_fingerprint(recipe):
    data = to_data(recipe, name_of)
    assert fingerprint(to_data(from_data(data, Recipe, class_of), name_of)) == fingerprint(data)


CHANGES = {
    "name": "y",
    "rate": 0.5,
    "limit": 3,
    "kind": "drop",
    "flag": True,
    "shape": (3, 2.0),
    "sizes": (1,),
    "folder": Path("elsewhere"),
    "head": Head(width=5),
    "heads": {"a": Head()},
    "stack": (Head(),),
    "maybe": Head(),
}


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Recipe)])
def test_every_field_is_part_of_the_fingerprint(field):
    recipe = Recipe(name="x")
    changed = attrs.evolve(recipe, **{field: CHANGES[field]})
    assert fingerprint(to_data(changed, name_of)) != fingerprint(to_data(recipe, name_of))


def test_the_class_is_part_of_the_fingerprint():
    assert fingerprint(to_data(Head(width=4), name_of)) != fingerprint(to_data(Deep(width=4), name_of))


def test_the_fingerprint_does_not_depend_on_order_or_on_how_a_whole_number_is_written():
    assert fingerprint({"a": 1, "b": [2.0]}) == fingerprint({"b": [2], "a": 1.0})
    assert fingerprint({"a": True}) != fingerprint({"a": 1})


def test_the_fingerprint_is_the_same_for_ever():
    # SHA-256 of {"a":1,"b":"ü"}, computed with coreutils
    assert fingerprint({"b": "ü", "a": 1}) == "1a59e522e02ce50ad2c27c11a6d30f8667489c199580627fe9e3e33e2b0e91d5"


@pytest.mark.parametrize(
    ("change", "what", "where"),
    [
        ({"rat": 0.5}, "Recipe has no field 'rat'", "rat"),
        ({"rate": 2}, "Recipe.rate must be between 0 and 1, got 2.0", "rate"),
        ({"rate": "x"}, "Recipe.rate must be float, got 'x'", "rate"),
        ({"limit": "x"}, "Recipe.limit must be int or None, got 'x'", "limit"),
        ({"kind": "x"}, "Recipe.kind must be one of 'hide', 'drop', got 'x'", "kind"),
        ({"shape": [1]}, "Recipe.shape must be tuple[int, float], got [1]", "shape"),
        ({"heads": []}, "Recipe.heads must be", "heads"),
        (
            {"head": {"spec": "test/deep", "layers": 3}},
            "Deep.layers must be a divisor of width (4), got 3",
            "head.layers",
        ),
        ({"maybe": {"spec": "test/deep", "layer": 3}}, "Deep has no field 'layer'", "maybe.layer"),
        ({"heads": {"a": {"spec": "test/head", "width": 0}}}, "Head.width must be at least 1, got 0", "heads.a.width"),
    ],
)
def test_data_that_does_not_fit_names_the_dotted_field(change, what, where):
    data = to_data(Recipe(name="x"), name_of) | change
    error = error_of(from_data, data, Recipe, class_of)
    assert error.what.startswith(what)
    assert error.where == where


def test_data_that_lacks_a_field_says_which():
    assert error_of(from_data, {"rate": 0.5}, Recipe, class_of).what == "Recipe.name is missing"


def test_data_of_a_plugin_that_is_missing_raises_its_error():
    data = to_data(Recipe(name="x"), name_of) | {"head": {"spec": "gone/head"}}
    with pytest.raises(PluginError, match="gone/head is not installed"):
        from_data(data, Recipe, class_of)


def test_data_of_an_abstract_kind_must_name_which():
    from didact import Schedule

    assert "must be named" in error_of(from_data, {"warmup_steps": 3}, Schedule, class_of).what


# ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

NESTED = Recipe(name="x", head=Deep(width=6, layers=3), heads={"a": Head(), "b.c": Head()}, stack=(Head(), Deep()))


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("rate", "0.5", 0.5),
        ("rate", "1", 1.0),
        ("rate", "1e-1", 0.1),
        ("limit", "1_000", 1000),
        ("limit", "None", None),
        ("kind", "drop", "drop"),
        ("flag", "True", True),
        ("flag", "true", True),
        ("name", "5", "5"),
        ("name", "None", "None"),
        ("sizes", "[1, 2]", (1, 2)),
        ("sizes", "(1, 2)", (1, 2)),
        ("sizes", "1,2", (1, 2)),
        ("name", "1,2", "1,2"),
        ("folder", "a/b", Path("a/b")),
    ],
)
def test_text_is_read_as_the_fields_type(path, text, value):
    changed = getattr(override(Recipe(name="x", limit=7, rate=0.3), {path: text}), path)
    assert changed == value
    assert type(changed) is type(value)


def test_dots_lead_into_specs_mappings_and_tuples():
    changed = override(NESTED, {"head.layers": "2", "heads.a.width": "7", "stack.1.width": "8", "shape.0": "5"})
    assert changed.head == Deep(width=6, layers=2)
    assert changed.heads["a"] == Head(width=7)
    assert changed.stack == (Head(), Deep(width=8))
    assert changed.shape == (5, 1.0)
    assert NESTED.head == Deep(width=6, layers=3)


def test_changes_that_are_valid_only_together_are_made_together():
    changed = override(NESTED, {"head.width": "10", "head.layers": "5"})  # neither alone: 10 % 3, 6 % 5
    assert changed.head == Deep(width=10, layers=5)


def test_a_spec_can_be_replaced_and_then_changed():
    assert NESTED.evolve(**{"head": Deep(width=8), "head.layers": 4}).head == Deep(width=8, layers=4)


def test_text_can_describe_a_registered_spec_in_json():
    changed = override(NESTED, {"maybe": '{"spec": "test/deep", "width": 4}'}, class_of)
    assert changed.maybe == Deep(width=4)


@pytest.mark.parametrize(
    ("path", "text", "where", "what", "hint"),
    [
        ("head.layer", "3", "head.layer", "Deep has no field 'layer'", "did you mean layers?"),
        ("haed.layers", "3", "haed", "Recipe has no field 'haed'", "did you mean head?"),
        ("head.layers", "x", "head.layers", "head.layers must be int, got 'x'", "how many."),
        ("head.layers", "4", "head.layers", "Deep.layers must be a divisor of width (6), got 4", "how many."),
        ("rate", "1.5", "rate", "Recipe.rate must be between 0 and 1, got 1.5", "a share; the paper uses 0.65."),
        ("heads.z.width", "3", "heads.z", "heads has no 'z'", "known: a, b.c"),
        ("stack.7.width", "3", "stack.7", "stack has no '7'", "known: 0, 1"),
        (
            "maybe.width",
            "3",
            "maybe.width",
            "maybe has no fields of its own: it is None",
            'set it as a whole: maybe={"width": …}',
        ),
        ("limit", "1.5", "limit", "limit must be int or None, got '1.5'", "of something, or None."),
    ],
)
def test_a_change_that_does_not_fit_says_what_where_and_how_to_mend(path, text, where, what, hint):
    error = error_of(override, NESTED, {path: text})
    assert (error.what, error.where, error.hint) == (what, where, hint)


def test_evolve_is_also_a_method():
    assert Recipe(name="x").evolve(**{"head.width": 9}).head.width == 9


# ── mappings ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Labelled(Spec):
    labels: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict)


def test_a_mapping_in_a_spec_cannot_be_changed_at_any_depth():
    given_labels = {"a": {"b": 1}}
    spec = Labelled(labels=given_labels)
    given_labels["a"]["b"] = 2
    assert spec.labels == {"a": {"b": 1}}
    for mapping in (spec.labels, spec.labels["a"]):
        with pytest.raises(TypeError, match="does not support item assignment"):
            mapping["b"] = 2


def test_a_spec_that_holds_mappings_is_hashed_by_value_and_pickled():
    one, other = Labelled(labels={"a": {"x": 1}, "b": {}}), Labelled(labels={"b": {}, "a": {"x": 1}})
    assert one == other
    assert len({one, other}) == 1
    assert pickle.loads(pickle.dumps(one)) == one
    assert hash(pickle.loads(pickle.dumps(one))) == hash(one)


@attrs.frozen(kw_only=True)
class Varied(Spec):
    vary: Mapping[str, Sequence[float]] = attrs.field(factory=dict)


def test_a_list_in_a_mapping_becomes_a_tuple_so_that_it_cannot_be_changed_either():
    values = [0.1, 0.2]
    spec = Varied(vary={"rate": values})
    values.append(0.3)
    assert spec.vary == {"rate": (0.1, 0.2)}
    assert hash(spec) == hash(Varied(vary={"rate": (0.1, 0.2)}))
    assert from_data(json.loads(json.dumps(to_data(spec))), Varied) == spec
