"""The tiny parts by name, for rules that turn a spec into plain data and back.

No plugin registers them, so that ``didact plugins`` lists what an experiment can use and nothing else.
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
    """The name of a spec class in plain data: that of a tiny part, or the registered one. None where it has none."""
    return next((name for name, double in _NAMES.items() if double is cls), None) or registry().name_of(cls)


def class_of(name: str) -> type[Spec]:
    """The class of a name that `name_of` gives.

    Raises:
        PluginError: no installed plugin registers it.
    """
    return _NAMES[name] if name in _NAMES else registry().class_of(name)


def data_of(spec: Spec) -> Any:
    """A spec as plain data; tiny parts in its fields have names, too."""
    return to_data(spec, name_of)


def restored(data: Any, cls: type[Spec]) -> Any:
    """The spec of a class that `data_of` turned into data.

    Raises:
        DidactError: the data do not describe such a spec.
    """
    return from_data(data, cls, class_of)
