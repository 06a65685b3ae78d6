"""Watches what a part is handed, and reports what it changes in place."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from didact.spec import Spec
from didact_kit.closeness import statistics

BASES = (object, nn.Module, Spec)  # their methods are not watched


class Held:
    """The state of a value before a call: tensors, and the modes and weights of modules, at any depth.

    Running statistics of norms are left out, because every pass of a network in training mode moves them.

    Args:
        value: a tensor, a module, or a value of `didact.tensors`, or a collection of these; others are not looked at.
        name: the name of the value in messages.
    """

    def __init__(self, value: Any, name: str) -> None:
        self._value, self._name = value, name
        self._tensors = {path: (one, one._version, one.detach().clone()) for path, one in _tensors(value, name)}
        self._modes = dict(_modes(value, name))

    def changes(self) -> Iterator[str]:
        """Yields a description of each change since then."""
        now = dict(_tensors(self._value, self._name))
        for path, (tensor, version, before) in self._tensors.items():
            if now.pop(path, None) is not tensor:
                yield f"{path} was replaced by another tensor"
            elif not same(tensor, before):
                yield f"{path} {_shape(tensor)} was changed in place"
            elif tensor._version != version:
                yield f"{path} {_shape(tensor)} was written in place, here with the values it had"
        yield from (f"{path} was added" for path in now)
        for path, mode in _modes(self._value, self._name):
            if mode != self._modes.get(path, mode):
                yield f"{path} was changed to {mode}"


@contextlib.contextmanager
def watching(classes: Iterable[type], changes: list[str]) -> Iterator[None]:
    """Adds to ``changes`` what the public methods of some classes change in their arguments, inside the block."""

    def guarded(cls: type, name: str, function: FunctionType) -> Callable[..., Any]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = list(signature.bind(*args, **kwargs).arguments.items())[1:]  # without self
            held = [Held(value, argument) for argument, value in given]
            try:
                return function(*args, **kwargs)
            finally:
                changes.extend(f"in {cls.__name__}.{name}, {text}" for one in held for text in one.changes())

        return call

    with _replaced(classes, _public_methods, guarded):
        yield


@contextlib.contextmanager
def recording(cls: type) -> Iterator[list[Any]]:
    """Records what the method ``build`` of a class returns inside the block."""
    built: list[Any] = []

    def recorded(cls: type, name: str, function: FunctionType) -> Callable[..., Any]:
        @functools.wraps(function)
        def build(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            built.append(result)
            return result

        return build

    with _replaced([cls], lambda cls: [item for item in _public_methods(cls) if item[0] == "build"], recorded):
        yield built


def same(one: Tensor, other: Tensor) -> bool:
    """Returns whether two tensors of any shape have equal types and values; NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())


@contextlib.contextmanager
def _replaced(
    classes: Iterable[type],
    methods: Callable[[type], Iterable[tuple[str, FunctionType]]],
    make: Callable[[type, str, FunctionType], Callable[..., Any]],
) -> Iterator[None]:
    """Replaces methods of classes inside the block; instances and copies of them then call the replacements."""
    replaced: list[tuple[type, str, Any]] = []
    try:
        for cls in dict.fromkeys(classes):
            for name, function in list(methods(cls)):
                replaced.append((cls, name, vars(cls).get(name)))
                setattr(cls, name, make(cls, name, function))
        yield
    finally:
        for cls, name, before in reversed(replaced):
            if before is None:  # inherited
                delattr(cls, name)
            else:
                setattr(cls, name, before)


def _public_methods(cls: type) -> Iterator[tuple[str, FunctionType]]:
    for name in dir(cls):
        function = inspect.getattr_static(cls, name)
        owner = next((base for base in cls.__mro__ if name in vars(base)), object)
        if not name.startswith("_") and isinstance(function, FunctionType) and owner not in BASES:
            yield name, function


def _tensors(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, nn.Module):
        yield from ((f"{path}.{name}", one) for name, one in value.named_parameters())
        norms = statistics(value)
        yield from ((f"{path}.{name}", one) for name, one in value.named_buffers() if name not in norms)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(item, f"{path}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from _tensors(item, f"{path}[{index}]")
    elif attrs.has(type(value)) and not isinstance(value, Spec):
        for field in attrs.fields(type(value)):
            yield from _tensors(getattr(value, field.name), f"{path}.{field.name.lstrip('_')}")


def _modes(value: Any, path: str) -> Iterator[tuple[str, bool]]:
    """Yields which modules are in training mode, and which parameters require a gradient."""
    if isinstance(value, nn.Module):
        yield from ((f"{path}.{name}.training".replace("..", "."), one.training) for name, one in value.named_modules())
        yield from ((f"{path}.{name}.requires_grad", one.requires_grad) for name, one in value.named_parameters())


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"
