"""Experiments and studies in Python files: finding one by ``FILE[:NAME]``, and saying where a mistake is."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from didact.contracts import Study
from didact.errors import DidactError, did_you_mean
from didact.experiment import Experiment
from didact.spec import evolve


def load_experiment(reference: str, settings: Sequence[str] = ()) -> tuple[Experiment, Path]:
    """The experiment that ``FILE`` or ``FILE:NAME`` refers to, and its file.

    Without a name it is the variable ``experiment``, or the only experiment in the file.

    Args:
        reference: to it.
        settings: as for `load`.

    Raises:
        DidactError: no such file or name, the file has a mistake (says in which line), or a setting does not fit.
    """
    found, path = load(reference, settings)
    if isinstance(found, Study):
        raise DidactError(
            f"{reference} is the study {found.name!r}, where one experiment is asked for",
            where=str(path),
            mend=f"name one of the file's experiments: {path}:NAME; `didact run` takes studies too",
        )
    return found, path


def load(reference: str, settings: Sequence[str] = ()) -> tuple[Experiment | Study, Path]:
    """The experiment or study that ``FILE`` or ``FILE:NAME`` refers to, and its file.

    Without a name it is the variable ``experiment``, or the only study in the file, or the only experiment.

    Args:
        reference: to it.
        settings: ``FIELD=VALUE``, as a command line's ``--set`` has them: fields of it that are changed.

    Raises:
        DidactError: no such file or name, the file has a mistake (says in which line), or a setting does not fit.
    """
    from didact.plugins import registry  # here: an experiment that builds on another's file need not wait for it

    found, path = _find(reference)
    overrides = parse_settings(settings)
    try:
        return evolve(found, overrides, registry().class_of), path
    except DidactError as error:
        raise error.at(f"--set on {path}") from None


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """Settings ``FIELD=VALUE`` as fields and their values, both as text.

    Raises:
        DidactError: one has no field or no equals sign.
    """
    overrides = {}
    for setting in settings:
        field, equals, value = setting.partition("=")
        if not equals or not field:
            raise DidactError(f"--set takes FIELD=VALUE, got {setting!r}", mend="for example --set training.steps=50")
        overrides[field.strip()] = value.strip()
    return overrides


def experiment_in(file: str | Path, *, beside: str | Path = "") -> Experiment:
    """The experiment of another file, to build on: ``base = experiment_in("../small/images.py", beside=__file__)``.

    Args:
        file: of the experiment; ``FILE:NAME`` where it holds several.
        beside: a path is relative to where this file lies; else to the working directory.

    Raises:
        DidactError: as for `load_experiment`.
    """
    folder = Path(beside).parent if beside else Path()
    return load_experiment(str(folder / file))[0]


def _find(reference: str) -> tuple[Experiment | Study, Path]:
    """What a reference refers to, as the file has it."""
    text, name = _split(reference)
    path = Path(text)
    if not path.is_file():
        folder = path if path.is_dir() else path.parent
        near = [str(other) for other in folder.glob("*.py")] if folder.is_dir() else []
        raise DidactError(f"there is no experiment file {text}", mend=did_you_mean(text, near))
    module = _execute(path)
    experiments: dict[str, Experiment | Study] = {
        key: value for key, value in vars(module).items() if isinstance(value, Experiment)
    }
    studies: dict[str, Experiment | Study] = {
        key: value for key, value in vars(module).items() if isinstance(value, Study)
    }
    known = {**experiments, **studies}
    if name:
        if name not in known:
            raise DidactError(f"{path} has no experiment {name!r}", where=str(path), mend=did_you_mean(name, known))
        return known[name], path
    if "experiment" in known:
        return known["experiment"], path
    for only in (list(studies.values()), list(experiments.values())):
        if len(only) == 1:
            return only[0], path
    raise DidactError(
        f"{path} has {len(known) or 'no'} experiments and none called 'experiment'",
        where=str(path),
        mend=f"say which one: {path}:NAME; {did_you_mean('', known)}",
    )


def _split(reference: str) -> tuple[str, str]:
    text, colon, name = reference.rpartition(":")
    return (text, name) if colon and name.isidentifier() else (reference, "")


def _execute(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"didact_experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise DidactError("an experiment is a Python file", where=str(path), mend="name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # attrs resolves a spec's annotations through its module
    try:
        spec.loader.exec_module(module)
    except DidactError as error:
        raise error.at(_line(error, path)) from None
    except SyntaxError as error:
        raise DidactError(f"this is not Python: {error.msg}", where=f"{error.filename}:{error.lineno}") from None
    except ImportError as error:
        raise DidactError(
            f"the experiment imports what is not there: {error}",
            where=_line(error, path),
            mend="install its distribution, or correct the name; `didact plugins` lists what is installed",
        ) from None
    return module


def _line(error: BaseException, path: Path) -> str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path.absolute() or frame.filename == str(path)
    ]
    return f"{path}:{lines[-1]}" if lines else str(path)
