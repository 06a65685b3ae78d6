"""The values that travel through a training step, from a source's samples to a loss.

Legend: ``B`` samples of the batch, ``M`` masks per sample, ``R = B·M`` rows (row ``b·M + m`` is sample ``b`` behind its
mask ``m``), ``T`` positions of a sample, ``V`` positions a row still holds when some were dropped, ``D`` width,
``N`` predicted positions of the whole batch.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import attrs
import torch
from torch import Tensor

Feature = Literal["ffn", "ffn+residual", "attention", "block"]


@attrs.frozen
class Layout:
    """How a sample's positions are arranged: ``(T,)`` in a sequence, ``(H, W)`` in a grid, row by row."""

    shape: tuple[int, ...]

    @property
    def positions(self) -> int:
        """How many positions there are."""
        return math.prod(self.shape)


@attrs.frozen(kw_only=True)
class Signal:
    """What a source's samples are before encoding: what an encoder must know to be built, and checks that it fits.

    Attributes:
        kind: the word by which encoders recognise it, such as ``waveform``, ``image`` or ``tokens``. The core compares
            it and never interprets it.
        axes: a sample's axes; None where the size differs from sample to sample. Mono sound is ``(None,)``, an image
            ``(3, 224, 224)``, a text ``(None,)``.
        rate_hz: values per second along the last axis, where time is that axis.
        vocabulary: how many ids there are, where the values are ids.
        coding: what the ids stand for, such as a tokenizer with its settings, in words; None where there is nothing to
            tell apart. A network that learned one coding makes nothing of another.
    """

    kind: str
    axes: tuple[int | None, ...]
    rate_hz: int | None = None
    vocabulary: int | None = None
    coding: str | None = None


class Corruption(enum.IntEnum):
    """What stands at a position in the student's input."""

    NONE = 0  # its own content; a predicted position may keep it (BERT's 10 %)
    HIDE = 1  # the encoder's mask embedding
    REPLACE = 2  # another content, drawn at random
    DROP = 3  # nothing: the position is taken out of the sequence


@attrs.frozen(kw_only=True, eq=False)
class Mask:
    """One sample's masks, as a masker draws them.

    Attributes:
        predicted: (M, T) bool; true = the student must predict this position.
        corruption: (M, T) uint8 of `Corruption`: what stands there in the student's input.
        replacement: (M, T) int64 or None; at a position to be replaced, a random number from which the encoder takes
            the other content (a token id modulo its vocabulary).
    """

    predicted: Tensor
    corruption: Tensor
    replacement: Tensor | None = None

    @classmethod
    def hide(cls, predicted: Tensor) -> Mask:
        """Masks that hide what they predict behind the mask embedding; ``predicted`` is (M, T) bool."""
        return cls(predicted=predicted, corruption=predicted.to(torch.uint8) * int(Corruption.HIDE))

    @classmethod
    def drop(cls, predicted: Tensor) -> Mask:
        """Masks that take what they predict out of the student's sequence; ``predicted`` is (M, T) bool."""
        return cls(predicted=predicted, corruption=predicted.to(torch.uint8) * int(Corruption.DROP))


@attrs.frozen(kw_only=True, eq=False)
class BatchMask:
    """The masks of a batch. Made where the batch is collated, so that a device never has to count or search.

    Attributes:
        predicted: (B, M, T) bool; true = the student must predict this position. Never true at padding.
        hidden: (B, M, T) bool or None; true = the mask embedding stands there. None: nothing is hidden.
        replaced: (B, M, T) bool or None; true = other content stands there.
        replacement: (B, M, T) int64 or None; the random numbers from which that other content follows.
        visible: (R, V) int64 or None; the positions that a row still holds, in order. None: all of them. Rows that
            hold fewer than V are filled with position 0 and marked in ``visible_padding``.
        visible_padding: (R, V) bool or None; true = filler.
        targets: (N,) int64; the predicted positions as indices into a sample's positions laid end to end: ``b·T + t``.
        predictions: (N,) int64; the same positions as indices into the rows laid end to end: ``(b·M + m)·T + t``.
    """

    predicted: Tensor
    hidden: Tensor | None
    replaced: Tensor | None
    replacement: Tensor | None
    visible: Tensor | None
    visible_padding: Tensor | None
    targets: Tensor
    predictions: Tensor

    @property
    def masks(self) -> int:
        """M, the masks per sample."""
        return self.predicted.shape[1]

    @property
    def count(self) -> int:
        """N, the predicted positions of all rows; known without asking the device."""
        return self.targets.shape[0]

    @classmethod
    def collate(cls, masks: Sequence[Mask], positions: int) -> BatchMask:
        """Joins the samples' masks; positions beyond a sample's own are padding and never predicted.

        Args:
            masks: one for each of the B samples, each over that sample's own positions.
            positions: T, the positions of the longest sample.
        """
        predicted = torch.stack([_pad(mask.predicted, positions) for mask in masks])  # (B, M, T)
        corruption = torch.stack([_pad(mask.corruption, positions) for mask in masks])  # (B, M, T)
        hidden, replaced, dropped = (
            corruption == kind for kind in (Corruption.HIDE, Corruption.REPLACE, Corruption.DROP)
        )
        replacement = None
        if replaced.any():
            replacement = torch.stack(
                [_pad(m.replacement if m.replacement is not None else m.corruption.long(), positions) for m in masks]
            )
        visible = visible_padding = None
        if dropped.any():
            lengths = [mask.predicted.shape[1] for mask in masks]
            visible, visible_padding = _visible(dropped, torch.tensor(lengths))
        samples, rows, columns = predicted.nonzero(as_tuple=True)
        _, m, t = predicted.shape
        return cls(
            predicted=predicted,
            hidden=hidden if hidden.any() else None,
            replaced=replaced if replacement is not None else None,
            replacement=replacement,
            visible=visible,
            visible_padding=visible_padding,
            targets=samples * t + columns,
            predictions=(samples * m + rows) * t + columns,
        )


@attrs.frozen(kw_only=True, eq=False)
class View:
    """One view of every sample of a batch: the whole of it, a crop, an augmentation.

    Attributes:
        content: (B, *axes); what the source gives, padded with zeros to the longest sample.
        padding: (B, T) bool or None; true = no data, in positions of the encoder. None: no sample is padded.
        layout: the arrangement of the T positions.
        lengths: (B,) int64 or None; the sizes of the samples along the axis that varies, before padding.
        mask: what the student must predict in this view; None: nothing, it sees all of it.
        keys: (B,) int64, on the CPU, or None outside training; a random number for each (seed, step, view, sample),
            for what draws at random where the network computes (colours of images, the distractors of wav2vec 2.0)
            without depending on how the batch is split.
    """

    content: Tensor
    layout: Layout
    padding: Tensor | None = None
    lengths: Tensor | None = None
    mask: BatchMask | None = None
    keys: Tensor | None = None


@attrs.frozen(kw_only=True, eq=False)
class Batch:
    """What a training step learns from.

    Attributes:
        views: one or more views of the same samples.
        ids: (B,) int64; the samples' places in their source, on the CPU, to name them when something goes wrong.
    """

    views: tuple[View, ...]
    ids: Tensor


@attrs.frozen(kw_only=True, eq=False)
class Tokens:
    """A sequence of vectors for every row, as an encoder gives it and a backbone takes it.

    Attributes:
        features: (R, V, D); before placing R = B and V = T.
        layout: the arrangement of all T positions, also of those that were dropped.
        padding: (R, V) bool or None; true = not data, no other position may attend to it.
        positions: (R, V) int64 or None; each vector's position in the layout. None: all T of them, in order.
        extra: how many vectors stand before the first position and for none (class tokens). They are part of
            ``features`` and ``padding``, not of ``positions``.
        latents: (B, T, F) or None; what `FeatureEncoderModule.embed` had before it projected to D, of encoders whose
            method predicts or penalises that (the quantised latents of wav2vec 2.0).
    """

    features: Tensor
    layout: Layout
    padding: Tensor | None = None
    positions: Tensor | None = None
    extra: int = 0
    latents: Tensor | None = None


@attrs.frozen(kw_only=True)
class Collect:
    """Which of a backbone's inner features are asked for.

    Attributes:
        feature: ``ffn`` is the feed-forward output before its residual connection, ``ffn+residual`` the sum behind it,
            ``attention`` the self-attention's output before its own connection, ``block`` what the block hands to the
            next: the sum, or where norms follow the connections its norm.
        last: of how many blocks, counted from the top.
    """

    feature: Feature
    last: int


@attrs.frozen(kw_only=True, eq=False)
class Context:
    """What a backbone makes of a sequence.

    Attributes:
        output: (R, V, D); one vector for each that it was given, extra ones included.
        tokens: the sequence that ``output`` stands for, which is the one it was given unless the backbone says
            otherwise (latents of a Perceiver, the pooled grid of a convolutional net).
        features: one (R, V, D) for each block that was asked for, from lower to upper.
        summary: (R, P) or None; one vector for the whole row, of backbones that end in one (a projector).
    """

    output: Tensor
    tokens: Tokens
    features: tuple[Tensor, ...] = ()
    summary: Tensor | None = None

    def positions_only(self, values: Tensor) -> Tensor:
        """``values`` (R, V, D) without the extra tokens: (R, V - extra, D)."""
        return values[:, self.tokens.extra :] if self.tokens.extra else values


@attrs.frozen(kw_only=True, eq=False)
class Attention:
    """Who reads from where in a block of a backbone, for people to look at.

    Attributes:
        weights: (R, H, Q, V) float32; the share that each of Q queries reads, by each of H heads, of each of the V
            vectors that the backbone was given, extra ones included. Rows add up to 1, and nothing is read of padding.
        latent: whether the queries are vectors of the backbone's own, such as a Perceiver's latents. Else Q = V, and
            query q is vector q.
    """

    weights: Tensor
    latent: bool = False


@attrs.frozen(kw_only=True, eq=False)
class StudentPass:
    """What the student made of one view: its own tokens before masking, and the context after it."""

    view: View
    tokens: Tokens
    context: Context


@attrs.frozen(kw_only=True, eq=False)
class Target:
    """What one view's context must predict.

    Attributes:
        view: the index of the view whose context predicts it.
        values: what is to be predicted. Per position and continuous: (B, T, D) floats. Per position and discrete:
            (B, T) int64 ids. Per sample: (B, D) floats or (B,) int64.
        level: whether ``values`` holds a value per position or per sample.
    """

    view: int
    values: Tensor
    level: Literal["position", "sample"] = "position"


@attrs.frozen(kw_only=True, eq=False)
class Loss:
    """What an objective says of a batch.

    Attributes:
        terms: each term's sum over everything it counts, weighted, a scalar with gradient. The learner divides it by
            the count that the objective announced for the whole global batch, so that no split of the batch changes
            the gradient.
        predictions: (N, D) without gradient; what was predicted, for the collapse measures.
        targets: (N, D) without gradient; what should have been.
        scalars: further scalars to log, without gradient.
    """

    terms: Mapping[str, Tensor]
    predictions: Tensor | None = None
    targets: Tensor | None = None
    scalars: Mapping[str, Tensor] = attrs.field(factory=dict)


Moved = TypeVar("Moved")


def move(value: Moved, device: torch.device) -> Moved:
    """A value of this module, or a tuple of them, on ``device``; what only the host reads of a `Batch` stays."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)  # type: ignore[return-value]
    if isinstance(value, tuple):
        return tuple(move(item, device) for item in value)  # type: ignore[return-value]
    if attrs.has(type(value)):
        changes: dict[str, Any] = {
            field.name: move(getattr(value, field.name), device)
            for field in attrs.fields(type(value))  # type: ignore[arg-type]
            if field.name not in ("ids", "keys")
        }
        return attrs.evolve(value, **changes)  # type: ignore[misc]
    return value


def pin(value: Moved) -> Moved:
    """The same value in page-locked memory, from which a GPU copies while it computes."""
    if isinstance(value, Tensor):
        return value.pin_memory()  # type: ignore[return-value]
    if isinstance(value, tuple):
        return tuple(pin(item) for item in value)  # type: ignore[return-value]
    if attrs.has(type(value)):
        changes = {f.name: pin(getattr(value, f.name)) for f in attrs.fields(type(value))}  # type: ignore[arg-type]
        return attrs.evolve(value, **changes)  # type: ignore[misc]
    return value


def mean_over_positions(values: Tensor, padding: Tensor | None) -> Tensor:
    """The mean over positions that are data.

    Args:
        values: (R, V, D); what stands at padding, be it no number, changes nothing.
        padding: (R, V) bool; true = not data. None: all is data.

    Returns:
        (R, D); zeros for a row without data.
    """
    if padding is None:
        return values.mean(1)
    held = (~padding).sum(1, keepdim=True).clamp(min=1)  # (R, 1)
    return values.masked_fill(padding[..., None], 0).sum(1) / held


def in_bytes(value: Any) -> int:
    """What the tensors of a value of this module, or of a tuple of them, take."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, tuple):
        return sum(in_bytes(item) for item in value)
    if attrs.has(type(value)):
        return sum(in_bytes(getattr(value, field.name)) for field in attrs.fields(type(value)))
    return 0


def _pad(values: Tensor, positions: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, positions - values.shape[1]))  # (M, t) -> (M, T)


def _visible(dropped: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
    """The positions that each row still holds, and which of those are filler.

    Args:
        dropped: (B, M, T) bool.
        lengths: (B,) int64; each sample's own positions, of which there may be fewer than T.
    """
    b, m, t = dropped.shape
    held = ~dropped & (torch.arange(t) < lengths[:, None, None])  # (B, M, T)
    held = held.reshape(b * m, t)
    counts = held.sum(1)  # (R,)
    most = int(counts.max())
    order = torch.argsort(held.logical_not().to(torch.uint8), dim=1, stable=True)[:, :most]  # (R, V): held ones first
    filler = torch.arange(most) >= counts[:, None]
    return order.masked_fill(filler, 0), filler if filler.any() else None
