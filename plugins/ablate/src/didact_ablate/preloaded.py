"""What the fork server of a study imports, once for all jobs; nothing else imports this module."""

from __future__ import annotations

import didact.run
from didact.plugins import registry
from didact_ablate import worker

__all__ = ["didact", "worker"]

registry()  # imports every plugin
