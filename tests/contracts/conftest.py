"""Components of first-party plugins by their registered names, so that no test here imports a plugin."""

from __future__ import annotations

from typing import Any

import pytest

from didact import Spec
from didact.plugins import registry
from didact.serialization import from_data


@pytest.fixture
def make() -> Any:
    """Builds any spec from its data."""
    return lambda data: from_data(data, Spec, registry().class_of)
