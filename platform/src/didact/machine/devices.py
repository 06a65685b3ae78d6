"""Where a run computes, and with which numbers."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch

from didact.errors import RunError


def choose_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is the GPU where there is one.

    Raises:
        RunError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"there is no device {name!r} here: {reason}", where="--device", mend="auto, cpu or cuda"
        ) from None
    return device


def choose_precision(precision: Literal["auto", "float32", "bfloat16"], device: torch.device) -> torch.dtype:
    """What matrix products are computed in; ``auto`` is bfloat16 where the device has instructions for it."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            # AMX or AVX-512 BF16; without either, bfloat16 on a CPU is emulated and slower than float32
            fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Computes in ``dtype`` what is safe in it, and everything else in float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


def peak_memory(device: torch.device) -> int:
    """The most bytes that were in use so far: of a GPU by tensors, else by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes there and KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def memory_limit(device: torch.device) -> int:
    """The bytes that there are: of a GPU, or of the machine; less where this process's control group allows less."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("memory.max", "memory/memory.limit_in_bytes"):  # version 2, version 1
        with contextlib.suppress(OSError, ValueError):  # no such group, or no limit ("max")
            limit = min(limit, int((Path("/sys/fs/cgroup") / file).read_text()))
    return limit
