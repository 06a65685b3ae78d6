"""What the server of `didact.machine.processes` imports, once for all processes; nothing else imports this module."""

from __future__ import annotations

import torch._dynamo  # every optimizer asks for it

import didact.cli.progress
import didact.doctor.trial
import didact.run
import didact.training.bench
from didact.plugins import registry

__all__ = ["didact", "torch"]

registry()  # imports the plugins
registry.cache_clear()  # a process may be started with others, or with some left out
