"""Loads experiments and studies from Python files by ``FILE[:NAME]``, and locates errors in these files.

A study runs several experiments. It is a spec with a ``name`` and methods ``run`` and ``smoke``; see
`didact_ablate.Study`.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from didact.errors import DidactError, did_you_mean
from didact.experiment import Experiment
from didact.plugins import registry
from didact.serialization import override
from didact.spec import Spec

NAMES = {  # of classes and functions of earlier commits, with their replacements
    "samples": "BatchSize.samples",
    "seconds": "BatchSize.seconds",
    "tokens": "BatchSize.tokens",
    "Context": "BackboneOutput",
    "Collect": "HiddenState",
    "Subject": "RunState",
    "Sound": "Source.audio",
    "Medium": "didact_stores.Medium",
    "Record": "didact_stores.Record",
    "CosinePrediction": "NegativeCosineSimilarity",
    "TriStage": "didact_distill.TriStage",
    "TeacherSummaries": "TeacherProjections",
    "StudentSummaries": "StudentProjections",
    "DistortedViews": "MultiViewAugmentation",
    "Pictures": "Visualizations",
    "Health": "RepresentationMetrics",
    "CellMasker": "RandomMasker",
    "Descriptor": "TargetFeature",
    "DescriptorTargets": "FeatureTargets",
    "span": "torch.profiler.record_function",
    **{name: f"didact.placing.{name}" for name in ("corrupt", "drop", "prepend", "repeat")},
    "restore": "didact_distill.restoring.restore",
    **{name: f"didact_ablate.{name}" for name in ("experiment_in", "RunFinder", "close")},
    "Augmentation": "didact_vision.Augmentation",
    "sincos_positions": "didact_transformer.sincos.sincos_positions",
}


def load_experiment(reference: str, settings: Sequence[str] = ()) -> tuple[Experiment, Path]:
    """Loads the experiment that ``FILE`` or ``FILE:NAME`` refers to; like `load`, but rejects a study."""
    found, path = load(reference, settings)
    if not isinstance(found, Experiment):
        hint = f"name one of the file's experiments: {path}:NAME; `didact run` takes studies too"
        what = f"{reference} is the study {found.name!r}, where one experiment is needed"
        raise DidactError(what, where=str(path), hint=hint)
    return found, path


def load(reference: str, settings: Sequence[str] = ()) -> tuple[Any, Path]:
    """Loads the experiment or study that ``FILE`` or ``FILE:NAME`` refers to; also returns the path of its file.

    Without a name, this is the variable ``experiment``, else the only study in the file, else the only experiment.

    Args:
        reference: ``FILE`` or ``FILE:NAME``.
        settings: fields to change, as ``FIELD=VALUE``, the syntax of ``--set``.

    Raises:
        DidactError: the file or name does not exist, the file has an error (names the line), or a setting is invalid.
    """
    text, colon, name = reference.rpartition(":")
    if not (colon and name.isidentifier()):
        text, name = reference, ""
    path = Path(text)
    if not path.is_file():
        near = [str(other) for other in (path if path.is_dir() else path.parent).glob("*.py")]
        raise DidactError(f"there is no experiment file {text}", hint=did_you_mean(text, near))
    specs = {name: value for name, value in vars(_execute(path)).items() if isinstance(value, Spec)}
    studies = {name: value for name, value in specs.items() if hasattr(value, "smoke")}
    experiments = {name: value for name, value in specs.items() if isinstance(value, Experiment)}
    known = studies | experiments
    if name and name not in known:
        raise DidactError(f"{path} has no experiment {name!r}", where=str(path), hint=did_you_mean(name, known))
    only = [value for kind in (studies, experiments) for value in kind.values() if len(kind) == 1]
    found = known.get(name or "experiment", only[0] if only else None)
    if found is None:
        what = f"{path} has {len(known) or 'no'} experiments and none called 'experiment'"
        raise DidactError(what, where=str(path), hint=f"name one: {path}:NAME; {did_you_mean('', known)}")
    overrides = parse_settings(settings)
    try:
        return override(found, overrides, registry().class_of), path
    except DidactError as error:
        raise error.at(f"--set on {path}") from None


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """Parses settings ``FIELD=VALUE`` into fields and values, both as text; raises a `DidactError` for other forms."""
    overrides = {}
    for setting in settings:
        field, equals, value = setting.partition("=")
        if not equals or not field:
            raise DidactError(f"--set takes FIELD=VALUE, got {setting!r}", hint="for example --set training.steps=50")
        overrides[field.strip()] = value.strip()
    return overrides


def _execute(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"didact_experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise DidactError("an experiment is a Python file", where=str(path), hint="name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # attrs resolves a spec's annotations through its module
    try:
        spec.loader.exec_module(module)
    except DidactError as error:
        raise error.at(_line(error, path)) from None
    except SyntaxError as error:
        raise DidactError(f"this is not Python: {error.msg}", where=f"{error.filename}:{error.lineno}") from None
    except ImportError as error:
        hint = "install its distribution, or correct the name; `didact plugins` lists what is installed"
        if (old := re.search(r"cannot import name '(\w+)'", str(error))) and old[1] in NAMES:
            hint = f"it is {NAMES[old[1]]} now"
        elif any(path.parent.glob(f"{error.name}.py")):
            hint = "an experiment imports no files beside it: move that code to a plugin (`didact plugin new`)"
        what = f"the experiment imports what is missing: {error}"
        raise DidactError(what, where=_line(error, path), hint=hint) from None
    return module


def _line(error: BaseException, path: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename in (str(path), str(path.absolute()))]
    return f"{path}:{lines[-1]}" if lines else str(path)
