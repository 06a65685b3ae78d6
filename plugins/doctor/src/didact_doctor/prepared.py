"""Imported by the server of `didact_doctor.processes`, once for all processes, and by nothing else."""

import torch._dynamo  # every optimizer imports it

import didact.cli.progress
import didact.run.running
from didact.plugins import registry

__all__ = ["didact", "torch"]

registry()  # imports the plugins' modules
registry.cache_clear()  # a process may be started with other plugins, or with some left out
