"""Observers: they are told what happens in a run, and cannot harm it."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pluggy

from didact.errors import DidactError, RunError
from didact.experiment import Observer
from didact.hookspecs import Lifecycle
from didact.plugins import registry

RECORDER = "recorder"  # the observer that writes the run's record


class Observers:
    """The observers of one run, in a plugin manager of their own.

    One that raises is switched off, with a warning; training continues. Only where the record itself cannot be written
    does the run end, because nothing would document it.

    Args:
        observers: by name, objects with lifecycle hooks.
        listed: observers that the experiment lists, which are built here.

    Attributes:
        unfit: why some of them do not observe at all: one could not be built, or implements what is no hook.

    Raises:
        DidactError: a listed one reports why it cannot be built: a mistake to fix before training.
    """

    def __init__(self, observers: Mapping[str, Any], listed: Sequence[Observer] = ()) -> None:
        self.manager = pluggy.PluginManager("didact")
        self.manager.add_hookspecs(Lifecycle)
        self.warnings: list[str] = []
        self.unfit: list[str] = []
        named = dict(observers)
        for index, spec in enumerate(listed):
            name = registry().name_of(type(spec))
            owner = f" of {registry().components[name][0].owner}" if name else ""
            named[f"{type(spec).__name__}-{index}{owner}"] = spec
        for name, observer in named.items():
            try:
                self._register(name, observer.build() if isinstance(observer, Observer) else observer)
            except DidactError:
                raise
            except Exception as error:  # foreign code: a run does without this observer
                if self.manager.has_plugin(name):
                    self.manager.unregister(name=name)
                reason = f"{type(error).__name__}: {error}"
                self.unfit.append(f"the observer {name!r} cannot be used and is left out: {reason}")

    def _register(self, name: str, observer: Any) -> None:
        self.manager.register(observer, name=name)
        self.manager.check_pending()
        for caller in self.manager.get_hookcallers(observer) or ():
            for hook in caller.get_hookimpls():
                if hook.plugin is observer and (hook.wrapper or hook.hookwrapper):
                    raise TypeError(f"{hook.function.__name__} is a wrapper, which lifecycle hooks do not have")

    def notify(self, hook: str, **arguments: Any) -> list[Any]:
        """Calls one lifecycle hook of every observer, and returns the answers. Failures become warnings.

        Raises:
            RunError: the run's record cannot be written; the other observers were told nevertheless.
            DidactError: an observer refuses a run (``run_prepared``) or explains a step by it (``step_failed``).
        """
        answers, failures, lost = [], [], None
        for implementation in list(reversed(getattr(self.manager.hook, hook).get_hookimpls())):
            name = implementation.plugin_name
            try:
                answers.append(implementation.function(**{key: arguments[key] for key in implementation.argnames}))
            except Exception as error:  # foreign code: nothing it does may end a training
                mistake = isinstance(error, DidactError)
                if mistake and hook in ("run_prepared", "step_failed"):
                    raise
                if name == RECORDER and isinstance(error, RunError):
                    lost = error
                    continue
                self.manager.unregister(implementation.plugin)
                reason = str(error) if mistake else f"{type(error).__name__}: {error}"
                text = f"the observer {name!r} failed in {hook} and is switched off: {reason}"
                failures.append((text, traceback.format_exc()))
        for text, details in failures:
            if hook == "run_prepared":  # the run's record is not begun yet
                self.unfit.append(text)
            elif hook == "step_failed":
                self.warn(text, arguments["failure"].step - 1, details)
            else:
                self.warn(text, arguments["run"].step if hook == "run_started" else arguments["step"], details)
        if lost is not None:
            raise lost
        return [answer for answer in answers if answer]

    def warn(self, text: str, step: int, details: str = "") -> None:
        """Reports, now and at the run's end, what went wrong after a step without ending the run.

        ``details``, such as a traceback, are for the record alone.

        Raises:
            RunError: the run's record cannot be written.
        """
        self.warnings.append(text)
        self.notify("run_warned", step=step, text=text, details=details)

    @contextlib.contextmanager
    def watching_threads(self) -> Iterator[None]:
        """Turns the failure of a thread beside the training, such as a tracker's, into a warning at the run's end."""

        def failed(failure: threading.ExceptHookArgs) -> None:
            error = f"{failure.exc_type.__name__}: {failure.exc_value}"
            self.warnings.append(f"a thread failed beside the training, which continued: {error}")

        before, threading.excepthook = threading.excepthook, failed
        try:
            yield
        finally:
            threading.excepthook = before
