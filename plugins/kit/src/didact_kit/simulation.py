"""A simulated GPU: tensors on it have shapes and a device, and no values. What reads a value on the host is found."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda")
aten = torch.ops.aten
PUTS = (aten.index_put_, aten.index_put, aten._index_put_impl_)


class HostRead(Exception):  # noqa: N818 - a finding, not an error
    """The host reads a value of a tensor on the GPU, and waits until all work before it is done."""


class SimulatedGPU(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside the ``with`` block, tensors on the device ``cuda`` have no values, and those on the CPU compute as usual.

    Operations on tensors of two devices raise PyTorch's error, as on a GPU.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> SimulatedGPU:
        self._exits.enter_context(warnings.catch_warnings(action="ignore"))  # PyTorch warns that there is no GPU
        self._exits.enter_context(mock.patch.object(torch.cuda, "synchronize", _synchronize))
        for name in ("numpy", "tolist", "__repr__", "__format__"):
            self._exits.enter_context(mock.patch.object(FakeTensor, name, _read_by(name), create=True))
        self._exits.enter_context(self._fake)  # below this mode; with it, PyTorch looks for no driver
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        self._exits.close()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        device = kwargs.get("device")
        to = None if device is None else torch.device(device).type
        on_gpu = any(isinstance(one, FakeTensor) for one in tensors)
        if not on_gpu and to != GPU.type:
            with unset_fake_temporarily():
                return function(*args, **kwargs)
        if on_gpu and _reads(function, args, kwargs, to):
            raise HostRead(str(function))
        try:
            return function(*args, **kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise HostRead(str(error.func)) from error

    def moved(self, module: nn.Module) -> None:
        """Replaces the parameters and buffers of a module; those that parts share stay shared."""
        made: dict[int, Any] = {}
        for each in module.modules():
            for held in (each._parameters, each._buffers):
                for name, one in held.items():
                    if one is not None and id(one) not in made:
                        there = torch.empty_like(one, device=GPU)
                        made[id(one)] = (
                            nn.Parameter(there, one.requires_grad) if isinstance(one, nn.Parameter) else there
                        )
                    if one is not None:
                        held[name] = made[id(one)]


def _reads(function: Any, args: Any, kwargs: Any, to: str | None) -> bool:
    """Whether an operation on a tensor on the GPU copies to the CPU, or has to count on the host."""
    if function.overloadpacket is aten._to_copy:
        return to == "cpu" and args[0].device.type == GPU.type and not kwargs.get("non_blocking", False)
    if function.overloadpacket is aten.copy_:
        return args[0].device.type == "cpu" and args[1].device.type == GPU.type and not (len(args) > 2 and args[2])
    if function.overloadpacket in PUTS:  # of one value, it is a masked fill
        boolean = (one is not None and one.dtype == torch.bool for one in args[1])
        return any(boolean) and args[2].numel() != 1
    return False


def _synchronize(*args: Any, **kwargs: Any) -> None:
    raise HostRead("torch.cuda.synchronize")


def _read_by(name: str) -> Any:
    def read(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise HostRead(f"Tensor.{name}")

    return read
