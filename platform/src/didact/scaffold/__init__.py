"""Writing a new plugin: a small, complete distribution that installs, trains and keeps the contract as it is."""

from __future__ import annotations

import importlib.resources
import keyword
import re
import string
from pathlib import Path

import attrs

import didact
from didact.errors import PluginError, did_you_mean
from didact.hookspecs import VERSION
from didact.machine.disk import write_text, writing
from didact.plugins import registry
from didact.scaffold.experiments import experiment
from didact.scaffold.inserting import WIDTH


@attrs.frozen(kw_only=True)
class Kind:
    """What is written for one kind of part.

    Attributes:
        hook: that registers it.
        base: the contract's class.
        suffix: of the component's class.
        module: the file of the component.
        words: what it brings, to begin a sentence.
        examples: calls of ``$Class`` on which the contract is tried, with what stands beside them.
        testing: names of `didact.testing` that these need.
    """

    hook: str
    base: str
    suffix: str
    module: str
    words: str
    examples: tuple[str, ...]
    testing: tuple[str, ...] = ()


KINDS = {
    "masker": Kind(
        hook="didact_maskers",
        base="Masker",
        suffix="Masker",
        module="masking",
        words="A masker",
        examples=("spec=$Class()", "spec=$Class(every=3)"),
    ),
    "feature-encoder": Kind(
        hook="didact_feature_encoders",
        base="FeatureEncoder",
        suffix="Encoder",
        module="encoder",
        words="A feature encoder",
        examples=("spec=$Class(width=8)", "spec=$Class(width=8, size=3), source=TinySource()"),
        testing=("TinySource",),
    ),
    "backbone": Kind(
        hook="didact_backbones",
        base="Backbone",
        suffix="Backbone",
        module="backbone",
        words="A backbone",
        examples=(
            "spec=$Class(width=8, depth=2)",
            "spec=$Class(width=8, depth=2, kernel=3), encoder=TinyEncoder(class_token=True)",
        ),
        testing=("TinyEncoder",),
    ),
    "target-builder": Kind(
        hook="didact_target_builders",
        base="TargetBuilder",
        suffix="Targets",
        module="targets",
        words="Targets",
        examples=("spec=$Class(teacher=TinyTeacher())", "spec=$Class(teacher=TinyTeacher(), block=2)"),
        testing=("TinyTeacher",),
    ),
    "objective": Kind(
        hook="didact_objectives",
        base="Objective",
        suffix="Objective",
        module="objective",
        words="An objective",
        examples=("spec=$Class()", "spec=$Class(scale=2.0), encoder=TinyEncoder(class_token=True)"),
        testing=("TinyEncoder",),
    ),
    "teacher": Kind(
        hook="didact_teachers",
        base="Teacher",
        suffix="Teacher",
        module="teacher",
        words="A teacher",
        examples=("spec=$Class(every=2)", "spec=$Class(every=1)"),
    ),
    "source": Kind(
        hook="didact_sources",
        base="Source",
        suffix="Source",
        module="source",
        words="A source of samples",
        examples=("spec=$Class(count=8)", "spec=$Class(count=8, channels=1, length=12, noise=0.0)"),
    ),
    "evaluation": Kind(
        hook="didact_evaluations",
        base="Evaluation",
        suffix="Evaluation",
        module="evaluation",
        words="An evaluation",
        examples=("spec=$Class(train=TinySource(), test=TinySource(uneven=True, seed=1), batch=5)",),
        testing=("TinySource",),
    ),
    "observer": Kind(
        hook="didact_observers",
        base="Observer",
        suffix="Observer",
        module="observer",
        words="An observer",
        examples=("spec=$Class()", 'spec=$Class(metric="train/learning_rate", file="rate.csv")'),
    ),
}


def write(name: str, kind: str, folder: Path | None = None) -> tuple[Path, list[Path]]:
    """Writes a new plugin's distribution.

    Args:
        name: of the plugin, such as ``stripes``; its distribution is called ``didact-stripes``.
        kind: what it brings, one of `KINDS`.
        folder: where it is written; by default one of the distribution's name, here.

    Returns:
        the folder, and the files in it.

    Raises:
        PluginError: the kind is unknown, the name cannot be used or is taken, or the folder is not empty.
        RunError: the folder cannot be written.
    """
    name = name.removeprefix("didact-")
    if kind not in KINDS:
        raise PluginError(f"there is no kind {kind!r} of plugin", where="--kind", mend=did_you_mean(kind, KINDS))
    _check_name(name)
    check_class(class_name(name, KINDS[kind].suffix))
    folder = folder if folder is not None else Path(f"didact-{name}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PluginError(
            "there is something here already", where=str(folder), mend="take another name, or --out FOLDER"
        )
    files = _files(name, kind)
    for path, text in files.items():
        with writing("the new plugin", folder / path):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / path, text)
    return folder, [Path(path) for path in files]


def _files(name: str, kind: str) -> dict[str, str]:
    """Every file of the distribution, ``path → content``."""
    about = KINDS[kind]
    package = f"didact_{name.replace('-', '_')}"
    words = words_of(name, kind, package=package, short=kind, cls=class_name(name, about.suffix), module=about.module)
    source = f"src/{package}"
    templates = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{source}/__init__.py": "init.py",
        f"{source}/{about.module}.py": f"{kind}.py",
        f"{source}/plugin.py": "plugin.py",
        "tests/test_contract.py": "test_contract.py",
    }
    files = {path: filled(template, words) for path, template in templates.items()}
    return {**files, f"{source}/py.typed": "", "experiment.py": experiment(name, kind, package, words["Class"])}


def words_of(plugin: str, kind: str, *, package: str, short: str, cls: str, module: str) -> dict[str, str]:
    """What stands in the templates' blanks.

    Args:
        plugin: its name.
        kind: of the component, one of `KINDS`.
        package: that has the component.
        short: the component's name in the plugin.
        cls: the component's class.
        module: the component's file.
    """
    about = KINDS[kind]
    words = {
        "plugin": plugin,
        "distribution": f"didact-{plugin}",
        "package": package,
        "identifier": plugin.replace("-", "_"),
        "Class": cls,
        "bounds": _bounds(),
        "kind_words": about.words,
        "hook": about.hook,
        "base": about.base,
        "module": module,
        "short": short,
        "testing": ", ".join(("Example", *about.testing)),
    }
    examples = "".join(_example(string.Template(example).substitute(words)) for example in about.examples)
    words["example"] = f'        "{short}": [\n{examples}        ],'
    words["registration"] = filled("registration.py", words).rstrip()
    return words


def filled(template: str, words: dict[str, str]) -> str:
    """A template with its blanks filled."""
    folder = importlib.resources.files("didact.scaffold") / "templates"
    return string.Template((folder / f"{template}.template").read_text()).substitute(words)


def class_name(name: str, suffix: str) -> str:
    """The component's class: ``stripes`` and ``Masker`` are ``StripesMasker``, and so is ``stripes-masker``."""
    return "".join(part.capitalize() for part in name.split("-")).removesuffix(suffix) + suffix


def check_word(name: str, what: str) -> None:
    """Raises where a name is not written as names of plugins and components are."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise PluginError(
            f"{name!r} is no name for {what}",
            where="NAME",
            mend="small letters, digits and single hyphens, beginning with a letter, such as stripes or long-spans",
        )


def check_class(cls: str) -> None:
    """Raises where a component's class would hide one of didact's own, which its file or its examples need."""
    if cls in didact.__all__ or any(cls in about.testing for about in KINDS.values()):
        raise PluginError(
            f"its class would be called {cls}, as one of didact's own is",
            where="NAME",
            mend="take a name that says what is particular about it, such as long-spans",
        )


def _example(arguments: str) -> str:
    line = f"            Example({arguments}),\n"
    return line if len(line) <= WIDTH + 1 else f"            Example(\n                {arguments}\n            ),\n"


def _check_name(name: str) -> None:
    check_word(name, "a plugin")
    if keyword.iskeyword(name):
        raise PluginError(
            f"{name!r} is a word of Python's, and no name for a plugin", where="NAME", mend="take another name"
        )
    for plugin in registry().plugins:
        if plugin.name == name:
            raise PluginError(
                f"there is a plugin {name!r} already, of {plugin.owner}",
                where="NAME",
                mend="take another name; two plugins of one name are both set aside",
            )


def _bounds() -> str:
    """The versions of didact whose hooks are those of this one."""
    major, minor = map(int, VERSION.split("."))
    return f">={major}.{minor},<{major}.{minor + 1}"
