"""Checks whether a run's record restores its experiment."""

from __future__ import annotations

import json

from didact import DidactError, Spec
from didact.plugins import registry


def lost_as_data(spec: Spec) -> str | None:
    """What a spec loses when it is recorded as plain data; None if it can be restored without loss."""
    try:
        again = registry().from_data(json.loads(json.dumps(registry().data_of(spec))), type(spec))
        return None if again == spec else "it is not equal to what was recorded"
    except (DidactError, TypeError) as error:
        return str(error).splitlines()[0]
