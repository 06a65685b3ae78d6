"""Imported once by the fork server of `didact_doctor.processes`, and by no other module."""

import torch._dynamo  # every optimizer imports it

import didact.cli.progress
import didact.run.running
from didact.plugins import registry

__all__ = ["didact", "torch"]

registry()  # imports the modules of the plugins
registry.cache_clear()  # a process may start with other plugins, or with some skipped
