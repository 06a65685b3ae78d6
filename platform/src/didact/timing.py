"""Where a step's time goes: named spans that cost nothing unless someone is measuring."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections import defaultdict
from collections.abc import Iterator

import torch


class Stopwatch:
    """Adds up the seconds of each span while it is active; a span inside another is not counted twice."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def enter(self, name: str) -> None:
        self._tick()
        self._open.append(name)

    def leave(self) -> None:
        self._tick()
        self._open.pop()

    def _tick(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


_active: contextvars.ContextVar[Stopwatch | None] = contextvars.ContextVar("didact_stopwatch", default=None)


@contextlib.contextmanager
def measuring(stopwatch: Stopwatch) -> Iterator[Stopwatch]:
    """Measures the spans inside the ``with``."""
    token = _active.set(stopwatch)
    try:
        yield stopwatch
    finally:
        _active.reset(token)


@contextlib.contextmanager
def span(name: str) -> Iterator[None]:
    """Marks a part of a step, such as ``encoder`` or ``teacher``."""
    stopwatch = _active.get()
    if stopwatch is None:
        yield
        return
    stopwatch.enter(name)
    try:
        yield
    finally:
        stopwatch.leave()
