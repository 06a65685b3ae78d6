"""Names of the tiny parts, for rules that convert a spec to plain data and back.

No plugin registers the tiny parts, so that ``didact plugins`` lists only what an experiment can use.
"""

from __future__ import annotations

from typing import Any

from didact.plugins import registry
from didact.serialization import from_data, to_data
from didact.spec import Spec
from didact_kit.tiny import TinyBackbone, TinyEncoder, TinyMasker, TinyWords
from didact_kit.tiny_method import TinyObjective, TinyTargets, TinyTeacher
from didact_kit.tiny_sources import NoiseSource, TinySource

DOUBLES: dict[str, type[Spec]] = {
    "encoder": TinyEncoder,
    "words": TinyWords,
    "masker": TinyMasker,
    "backbone": TinyBackbone,
    "targets": TinyTargets,
    "teacher": TinyTeacher,
    "objective": TinyObjective,
    "walks": TinySource,
    "noise": NoiseSource,
}
_NAMES = {f"tiny/{short}": cls for short, cls in DOUBLES.items()}


def name_of(cls: type[Spec]) -> str | None:
    """Returns the name of a spec class in plain data: a tiny part's or the registered one; None without a name."""
    return next((name for name, double in _NAMES.items() if double is cls), None) or registry().name_of(cls)


def class_of(name: str) -> type[Spec]:
    """Returns the class of a name that `name_of` gives.

    Raises:
        PluginError: no installed plugin registers the name.
    """
    return _NAMES[name] if name in _NAMES else registry().class_of(name)


def data_of(spec: Spec) -> Any:
    """Converts a spec to plain data; tiny parts in its fields have names, too."""
    return to_data(spec, name_of)


def restored(data: Any, cls: type[Spec]) -> Any:
    """Restores the spec of a class from the data of `data_of`.

    Raises:
        DidactError: the data do not describe a spec of the class.
    """
    return from_data(data, cls, class_of)
