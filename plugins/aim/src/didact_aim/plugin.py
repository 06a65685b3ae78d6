"""What didact-aim registers."""

from __future__ import annotations

from collections.abc import Mapping

from didact import Observer, hookimpl
from didact_aim.observer import Aim


@hookimpl
def didact_observers() -> Mapping[str, type[Observer]]:
    return {"aim": Aim}
