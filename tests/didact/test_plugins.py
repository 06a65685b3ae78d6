"""Plugin discovery: working plugins are loaded, and broken ones are reported with the reason and a hint."""

from __future__ import annotations

import importlib.metadata
import sys
import types

import attrs
import pytest

from didact import Layout, Mask, Masker, PluginError, hookimpl
from didact.hookspecs import VERSION
from didact.plugins import discover, registry
from didact_stores import Medium


@attrs.frozen(kw_only=True)
class Nothing(Masker):
    """Masks nothing."""

    def sample(self, layout: Layout, *, generator) -> Mask:
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class Unfinished(Masker):
    """Forgets to sample."""


class Undecorated(Masker):
    """Inherits, and is not an attrs class of its own."""

    def sample(self, layout: Layout, *, generator) -> Mask:
        raise NotImplementedError


class Paper(Medium):
    kind, unit, suffixes = "papers", "pages", (".pdf",)

    def records(self, data, name, options):
        return []


@attrs.frozen
class FakeDistribution:
    name: str
    version: str = "1.2"
    requires: list[str] | None = None


class FakeEntryPoint:
    """An entry point of a distribution that is not installed."""

    def __init__(self, name: str, module: types.ModuleType | BaseException, distribution: str = "") -> None:
        self.name, self.module = name, module
        self.value = f"{name.replace('-', '_')}.plugin"
        self.dist = FakeDistribution(distribution or f"didact-{name}")

    def load(self) -> types.ModuleType:
        if isinstance(self.module, BaseException):
            raise self.module
        return self.module


def module(**hooks) -> types.ModuleType:
    """A plugin's module whose hooks return these values, or are these functions."""
    made = types.ModuleType("fake_plugin")
    for name, value in hooks.items():
        function = value if callable(value) else (lambda value=value: value)
        if not callable(value):
            function = _returning(value)
        function.__name__ = name
        setattr(made, name, hookimpl(function))
    return made


def _returning(value):
    def hook():
        return value

    return hook


def test_components_are_known_by_plugin_and_short_name():
    found = discover([FakeEntryPoint("mine", module(didact_maskers={"none": Nothing}))])
    assert found.class_of("mine/none") is Nothing
    assert found.name_of(Nothing) == "mine/none"
    assert found.components[found.name_of(Nothing)][0].name == "mine"
    assert found.of_kind(Masker) == {"mine/none": Nothing}


def test_the_kind_of_other_components_follows_from_their_class():
    found = discover([FakeEntryPoint("mine", module(didact_components={"papers": Paper}))])
    assert found.of_kind(Medium) == found.of_kind(Medium, "papers") == {"mine/papers": Paper}
    assert found.of_kind(Masker) == found.of_kind(Medium, "other") == {}


def test_a_component_given_by_its_place_is_imported_when_it_is_needed(tmp_path, monkeypatch):
    text = (
        "import attrs\nfrom didact import Masker\n\n\n@attrs.frozen(kw_only=True)\nclass Lazy(Masker):\n"
        "    def sample(self, layout, *, generator): ...\n"
    )
    (tmp_path / "lazy_parts.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = discover([FakeEntryPoint("mine", module(didact_maskers={"lazy": "lazy_parts:Lazy"}))])
    assert tuple(found.components) == ("didact/constant", "didact/cosine", "didact/adamw", "mine/lazy")
    assert "lazy_parts" not in sys.modules
    cls = found.class_of("mine/lazy")
    assert cls.__name__ == "Lazy"
    assert found.name_of(cls) == "mine/lazy"
    sys.modules.pop("lazy_parts")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("nowhere.parts:Masker", "No module named 'nowhere'"),
        ("didact:Nothing", "attribute Nothing"),
        ("didact:Layout", ""),
    ],
)
def test_a_place_that_leads_nowhere_is_reported_where_it_is_used(place, reason):
    found = discover([FakeEntryPoint("mine", module(didact_maskers={"lost": place, "none": Nothing}))])
    assert found.class_of("mine/none") is Nothing, "the rest of it works"
    with pytest.raises(PluginError) as caught:
        found.class_of("mine/lost")
    assert "its didact_maskers registers 'lost' as" in caught.value.what
    assert reason in caught.value.what
    assert "the plugin 'mine' (didact-mine 1.2)" in caught.value.where
    assert found.of_kind(Masker) == {"mine/none": Nothing}


def test_a_plugin_that_does_not_import_is_kept_apart_and_the_others_load():
    broken = FakeEntryPoint("broken", ModuleNotFoundError("No module named 'timm'"))
    found = discover([broken, FakeEntryPoint("mine", module(didact_maskers={"none": Nothing}))])
    assert found.class_of("mine/none") is Nothing
    plugin = next(plugin for plugin in found.plugins if plugin.name == "broken")
    assert (plugin.distribution, plugin.version, plugin.module) == ("didact-broken", "1.2", "broken.plugin")
    assert "ModuleNotFoundError: No module named 'timm'" in plugin.failure


def test_asking_for_a_component_of_a_broken_plugin_says_why_and_what_to_do():
    found = discover([FakeEntryPoint("broken", ModuleNotFoundError("No module named 'timm'"))])
    with pytest.raises(PluginError) as caught:
        found.class_of("broken/patches")
    assert "cannot be used" in caught.value.what
    assert "No module named 'timm'" in caught.value.what
    assert caught.value.where == "didact-broken 1.2, broken.plugin"
    assert "didact plugins" in caught.value.hint


def test_a_syntax_error_in_a_plugin_names_file_and_line(tmp_path, monkeypatch):
    (tmp_path / "typo_plugin.py").write_text("import os\n\nraise RuntimeError('no such licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry_point = importlib.metadata.EntryPoint("typo", "typo_plugin", "didact")
    plugin = discover([entry_point]).plugins[-1]
    assert f"{tmp_path / 'typo_plugin.py'}:3: RuntimeError: no such licence" in plugin.failure
    assert plugin.distribution == "an unknown distribution"
    sys.modules.pop("typo_plugin", None)


def test_a_plugin_that_is_not_installed_is_named_with_what_to_install():
    with pytest.raises(PluginError) as caught:
        discover([]).class_of("speech/span")
    assert "speech/span comes from the plugin 'speech', which is not installed" in caught.value.what
    assert "didact-speech" in caught.value.hint


def test_a_misspelt_component_suggests_the_right_one():
    found = discover([FakeEntryPoint("mine", module(didact_maskers={"nothing": Nothing}))])
    with pytest.raises(PluginError) as caught:
        found.class_of("mine/nothin")
    assert caught.value.hint == "did you mean nothing?"


def test_two_plugins_of_one_name_are_both_set_aside_and_the_rest_works():
    first = FakeEntryPoint("same", module(didact_maskers={"none": Nothing}), "one-dist")
    second = FakeEntryPoint("same", module(), "other-dist")
    found = discover([first, second, FakeEntryPoint("mine", module(didact_maskers={"none": Nothing}))])
    assert found.class_of("mine/none") is Nothing
    with pytest.raises(PluginError) as caught:
        found.class_of("same/none")
    assert (
        "2 plugins are called 'same': one-dist 1.2 (same.plugin) and other-dist 1.2 (same.plugin)" in caught.value.what
    )
    assert "DIDACT_SKIP=DISTRIBUTION" in caught.value.hint


def test_of_two_plugins_of_one_name_one_can_be_left_out(monkeypatch):
    monkeypatch.setenv("DIDACT_SKIP", "other_dist")  # as pip compares names
    first = FakeEntryPoint("same", module(didact_maskers={"none": Nothing}), "one-dist")
    found = discover([first, FakeEntryPoint("same", module(), "other-dist")])
    assert found.class_of("same/none") is Nothing


def test_what_is_left_out_is_not_imported_and_says_so(monkeypatch):
    monkeypatch.setenv("DIDACT_SKIP", "mine, other")
    found = discover([FakeEntryPoint("mine", RuntimeError("was imported"))])
    assert (found.plugins[-1].skipped, found.plugins[-1].failure) == (True, "")
    with pytest.raises(PluginError) as caught:
        found.class_of("mine/none")
    assert "which DIDACT_SKIP leaves out" in caught.value.what
    assert "'mine, other'" in caught.value.hint


@pytest.mark.parametrize(
    ("requires", "refused"),
    [
        (["didact>=0.1,<0.2", "torch"], ""),
        (["didact==0.1.*"], ""),
        (["torch"], ""),
        (
            ["Didact>=0.2,<0.3"],
            "it is made for didact <0.3,>=0.2, and this is didact 0.1.0, whose hooks are version 0.1",
        ),
        (["didact<0.1"], "it is made for didact <0.1, and this is didact 0.1.0, whose hooks are version 0.1"),
        (["didact>=9; extra == 'later'"], ""),
    ],
)
def test_a_plugin_made_for_other_hooks_is_refused_before_it_is_imported(requires, refused):
    plugin = FakeEntryPoint("mine", RuntimeError("was imported") if refused else module())
    plugin.dist = FakeDistribution("didact-mine", requires=requires)
    found = discover([plugin, FakeEntryPoint("other", module(didact_maskers={"none": Nothing}))])
    assert found.plugins[1].failure == refused
    assert not refused or "install a version of didact-mine that is made for didact 0.1" in found.plugins[1].hint
    assert found.class_of("other/none") is Nothing


def test_the_hooks_version_is_the_beginning_of_didacts_own():
    assert importlib.metadata.version("didact").startswith(f"{VERSION}.")


def test_a_plugin_that_exits_when_it_is_imported_is_kept_apart():
    found = discover([FakeEntryPoint("quitter", SystemExit(3)), FakeEntryPoint("mine", module())])
    failures = {plugin.name: plugin.failure for plugin in found.plugins}
    assert failures["mine"] == ""
    assert failures["quitter"].endswith("SystemExit: 3")


def test_the_same_entry_point_found_twice_on_the_path_is_one_plugin():
    plugin = FakeEntryPoint("same", module(didact_maskers={"none": Nothing}))
    assert [found.name for found in discover([plugin, plugin]).plugins] == ["didact", "same"]


@pytest.mark.parametrize("name", ["didact", "a/b"])
def test_a_plugin_may_not_take_a_name_that_breaks_those_of_components(name):
    found = discover([FakeEntryPoint(name, module()), FakeEntryPoint("mine", module())])
    assert [f"no plugin may be called {name!r}" == plugin.failure for plugin in found.plugins if plugin.failure] == [
        True
    ]


def test_a_word_that_two_plugins_register_is_nobodys_and_both_are_named():
    first = FakeEntryPoint("a", module(didact_commands={"papers": "a:command"}, didact_maskers={"none": Nothing}))
    second = FakeEntryPoint("b", module(didact_commands={"papers": "b:command"}))
    found = discover([first, second])
    assert found.class_of("a/none") is Nothing, "the rest of it works"
    for plugin in found.plugins[1:]:
        assert plugin.commands == {}
        assert "the command 'papers' is registered by didact-a 1.2 and didact-b 1.2" in plugin.warning


@pytest.mark.parametrize("word", ["run", "plugins"])
def test_a_command_of_didacts_own_cannot_be_taken(word):
    import click

    found = discover([FakeEntryPoint("a", module(didact_commands={word: click.Command(word)}))])
    assert found.plugins[1].commands == {}
    assert f"the command {word!r} is registered by didact itself and didact-a 1.2" in found.plugins[1].warning


def test_a_component_and_a_command_of_one_name_do_not_clash():
    import click

    first = FakeEntryPoint("a", module(didact_components={"papers": Paper}))
    second = FakeEntryPoint("b", module(didact_commands={"papers": click.Command("papers")}))
    assert [plugin.failure for plugin in discover([first, second]).plugins] == ["", "", ""]


def test_a_function_that_forgot_hookimpl_is_set_aside():
    made = types.ModuleType("fake_plugin")
    made.didact_maskers = lambda: {"none": Nothing}
    made.didact_maskers.__name__ = "didact_maskers"
    (_, plugin) = discover([FakeEntryPoint("mine", made)]).plugins
    assert "didact_maskers is not decorated with @hookimpl" in plugin.failure


@pytest.mark.parametrize("option", ["tryfirst", "trylast", "wrapper", "optionalhook"])
def test_options_of_pluggy_that_a_registration_hook_cannot_have_are_refused_by_name(option):
    def didact_maskers():
        yield {}

    made = types.ModuleType("fake_plugin")
    made.didact_maskers = hookimpl(**{option: True})(didact_maskers)
    (_, plugin) = discover([FakeEntryPoint("mine", made)]).plugins
    assert f"didact_maskers asks for {option}" in plugin.failure


def test_a_hook_may_be_implemented_under_another_name():
    made = types.ModuleType("fake_plugin")
    made.my_maskers = hookimpl(specname="didact_maskers")(lambda: {"none": Nothing})
    assert discover([FakeEntryPoint("mine", made)]).class_of("mine/none") is Nothing


def _raising():
    raise KeyError("HOME")


def _with_an_argument(config):
    return {}


@pytest.mark.parametrize(
    ("hooks", "reason"),
    [
        (
            {"didact_masker": {}},
            "it implements didact_masker, which is no hook of version 0.1; did you mean didact_maskers?",
        ),
        ({"didact_maskers": [Nothing]}, "its didact_maskers returned list, not a mapping"),
        ({"didact_maskers": {"": Nothing}}, "registers something under '', which is no name"),
        ({"didact_maskers": {"x": Paper}}, "which is no Masker class"),
        ({"didact_maskers": {"x": Nothing()}}, "which is no Masker class"),
        ({"didact_maskers": {"x": Unfinished}}, "its 'x' (Unfinished) lacks sample"),
        ({"didact_maskers": {"x": Nothing}, "didact_components": {"x": Nothing}}, "it registers 'x' twice"),
        ({"didact_maskers": _raising}, "its didact_maskers raised"),
        ({"didact_maskers": _with_an_argument}, "does not fit its definition"),
        ({"didact_commands": {"x": Nothing}}, "which is no click.Command"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_set_aside_with_the_reason(hooks, reason):
    good = FakeEntryPoint("good", module(didact_maskers={"none": Nothing}))
    found = discover([FakeEntryPoint("bad", module(**hooks)), good])
    failures = {plugin.name: plugin.failure for plugin in found.plugins}
    assert reason in failures["bad"]
    assert failures["good"] == ""


def test_a_class_that_forgot_its_decorator_is_set_aside():
    found = discover([FakeEntryPoint("bad", module(didact_maskers={"x": Undecorated}))])
    assert "attrs.frozen(kw_only=True)" in found.plugins[-1].failure


def test_what_is_installed_here_loads():
    assert [(plugin.name, plugin.failure) for plugin in registry().plugins if plugin.failure] == []
    assert all(isinstance(registry().class_of(name), type) for name in registry().components)
