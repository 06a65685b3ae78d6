"""The device of a run, its precision and its memory."""

from __future__ import annotations

import contextlib
import resource
import sys
from contextlib import AbstractContextManager
from typing import Literal

import torch

from didact.errors import RunError


def choose_device(name: str) -> torch.device:
    """Returns the device of a name; ``auto`` is the GPU if there is one. Raises a `RunError` if it is missing."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        what = f"there is no device {name!r} here: {str(error).splitlines()[0]}"
        raise RunError(what, where="--device", hint="auto, cpu or cuda") from None
    return device


def choose_precision(precision: Literal["auto", "float32", "bfloat16"], device: torch.device) -> torch.dtype:
    """Returns the precision of matrix products; ``auto`` is bfloat16 if the device has instructions for it."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            # AMX or AVX-512 BF16; without either, bfloat16 on a CPU is emulated and slower than float32
            fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Returns a context that computes operations in ``dtype`` if that is safe, and otherwise in float32."""
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def peak_memory(device: torch.device) -> int:
    """Returns the peak memory in bytes so far: of tensors on a GPU, otherwise of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS and in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
