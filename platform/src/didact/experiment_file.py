"""Experiments in Python files: finding one by ``FILE[:NAME]``, and saying where in the file a mistake is."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from didact.errors import DidactError, did_you_mean
from didact.experiment import Experiment


def load_experiment(reference: str) -> tuple[Experiment, Path]:
    """The experiment that ``FILE`` or ``FILE:NAME`` refers to, and its file.

    Without a name it is the variable ``experiment``, or the only experiment in the file.

    Raises:
        DidactError: no such file or name, or the file has a mistake; says in which line.
    """
    text, name = _split(reference)
    path = Path(text)
    if not path.is_file():
        near = [str(other) for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise DidactError(f"there is no experiment file {text}", mend=did_you_mean(text, near))
    module = _execute(path)
    experiments = {key: value for key, value in vars(module).items() if isinstance(value, Experiment)}
    if name:
        if name not in experiments:
            raise DidactError(
                f"{path} has no experiment {name!r}", where=str(path), mend=did_you_mean(name, experiments)
            )
        return experiments[name], path
    if "experiment" in experiments:
        return experiments["experiment"], path
    if len(experiments) == 1:
        return next(iter(experiments.values())), path
    raise DidactError(
        f"{path} has {len(experiments) or 'no'} experiments and none called 'experiment'",
        where=str(path),
        mend=f"say which one: {path}:NAME; {did_you_mean('', experiments)}",
    )


def _split(reference: str) -> tuple[str, str]:
    text, colon, name = reference.rpartition(":")
    return (text, name) if colon and name.isidentifier() else (reference, "")


def _execute(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"didact_experiment_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None, "a .py file has a loader"
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
