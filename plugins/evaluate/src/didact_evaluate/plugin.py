"""What didact-evaluate registers."""

from __future__ import annotations

from collections.abc import Mapping

from didact import Evaluation, hookimpl
from didact_evaluate.health import Health
from didact_evaluate.pictures import Pictures
from didact_evaluate.probe import Probe


@hookimpl
def didact_evaluations() -> Mapping[str, type[Evaluation]]:
    return {"health": Health, "pictures": Pictures, "probe": Probe}
