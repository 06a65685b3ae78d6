"""Where a run takes place: what somebody needs who wants to repeat it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from didact.machine.distributed import launch
from didact.plugins import registry


def describe(
    device: torch.device,
    precision: torch.dtype,
    data: Mapping[str, str],
    commit: str | None,
    processes: int,
    weights: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The environment as plain data.

    Args:
        device: on which the run computes.
        precision: in which.
        data: the fingerprints of the data, by what they are to the run.
        commit: of the experiment's file; see `commit_of`.
        processes: that share the work.
        weights: from which the run began, a `didact.record.pretrained.Origin` as plain data; None: at random.
    """
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "plugins": {p.name: f"{p.distribution} {p.version}" for p in registry().plugins if not p.failure},
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "precision": str(precision).removeprefix("torch."),
        "data": dict(data),
        "weights": None if weights is None else dict(weights),
        "command": sys.argv,
        "launch": launch(),
        "commit": commit,
    }


def commit_of(source_file: Path | None) -> str | None:
    """The commit of the repository that holds the experiment's file, with a mark where files differ from it."""
    if source_file is None:
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=source_file.resolve().parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None
