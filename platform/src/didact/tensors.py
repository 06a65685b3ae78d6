"""The values that pass through a training step, from a source's samples to a loss.

Legend: ``B`` samples of the batch, ``M`` masks per sample, ``C`` contexts per sample (usually C = M), ``R = B·C`` rows
(row ``b·C + c`` is sample ``b`` with its context ``c``), ``T`` positions of a sample, ``V`` positions of a row that
remain after dropping, ``D`` width, ``N`` predicted positions of the whole batch.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import attrs
import torch
from torch import Tensor

from didact.errors import SpecError

Feature = Literal["ffn", "ffn+residual", "attention", "block"]
Level = Literal["position", "sample", "sequence"]
Held = TypeVar("Held")


@attrs.frozen
class Layout:
    """The arrangement of a sample's positions.

    Attributes:
        shape: ``(T,)`` for a sequence; ``(H, W)`` for a grid, row by row.
    """

    shape: tuple[int, ...]

    @property
    def positions(self) -> int:
        """The number of positions."""
        return math.prod(self.shape)


@attrs.frozen(kw_only=True)
class Signal:
    """The description of a source's samples. Encoders are built from it and check that they can read such samples.

    Attributes:
        kind: the kind of samples, such as ``waveform``, ``image`` or ``tokens``. The core never interprets the kind.
        axes: the sizes of a sample's axes; None for a size that varies between samples. Mono audio is ``(None,)``, an
            image ``(3, 224, 224)``, a text ``(None,)``.
        rate_hz: values per second along the last axis, if that axis is time.
        vocabulary: number of ids, if the values are ids.
        coding: what the ids mean, such as a tokenizer with its settings; None if there is nothing to distinguish.
            Weights trained with one coding are meaningless with another.
        columns: the names of the entries along the last axis, for samples such as rows of a table; empty if the entries
            have no names.
    """

    kind: str
    axes: tuple[int | None, ...]
    rate_hz: int | None = None
    vocabulary: int | None = None
    coding: str | None = None
    columns: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Field:
    """The description of a value that a source has beside a sample's content: a label, a transcript, a caption.

    Attributes:
        axes: the sizes of the value's axes; None for a size that varies. A label is ``()``, a transcript ``(None,)``.
        classes: the names of the ids' classes, if the values are ids; empty for real numbers. A source may leave it
            empty for ids whose classes have no names.
    """

    axes: tuple[int | None, ...] = ()
    classes: tuple[str, ...] = ()


class Corruption(enum.IntEnum):
    """What the student's input holds at a position."""

    NONE = 0  # the original content; a predicted position may keep it (BERT's 10 %)
    HIDE = 1  # the encoder's mask embedding
    REPLACE = 2  # other content, drawn at random
    DROP = 3  # nothing: the position is removed from the sequence


@attrs.frozen(kw_only=True, eq=False)
class Mask:
    """The masks of one sample, as drawn by a masker.

    Usually each mask has a context of its own (C = M). Several masks may share a context: mask ``m`` is predicted from
    context ``m // (M // C)``, as in I-JEPA, which predicts four blocks from one context.

    Attributes:
        predicted: (M, T) bool; true = the student must predict this position.
        corruption: (C, T) uint8 of `Corruption`: what the student's input holds at this position. C divides M.
        replacement: (C, T) int64 or None; at a replaced position, a random number from which the encoder derives the
            other content (a token id modulo its vocabulary).
    """

    predicted: Tensor
    corruption: Tensor
    replacement: Tensor | None = None

    @classmethod
    def hide(cls, predicted: Tensor) -> Mask:
        """Makes masks that replace predicted positions by the mask embedding; ``predicted`` is (M, T) bool."""
        return cls(predicted=predicted, corruption=predicted.to(torch.uint8) * int(Corruption.HIDE))

    @classmethod
    def drop(cls, predicted: Tensor) -> Mask:
        """Makes masks that remove predicted positions from the student's sequence; ``predicted`` is (M, T) bool."""
        return cls(predicted=predicted, corruption=predicted.to(torch.uint8) * int(Corruption.DROP))


@attrs.frozen(kw_only=True, eq=False)
class BatchMask:
    """The masks of a batch. They are made during collation, so that a device never has to count or search.

    Attributes:
        predicted: (B, M, T) bool; true = the student must predict this position. Never true at padding.
        contexts: C, the number of corrupted versions of a sample; R = B·C rows. C divides M.
        hidden: (B, C, T) bool or None; true = the position holds the mask embedding. None: nothing is hidden.
        replaced: (B, C, T) bool or None; true = the position holds other content. None: nothing is replaced.
        replacement: (B, C, T) int64 or None; the random numbers from which the other content is derived.
        visible: (R, V) int64 or None; the positions that remain in a row, in order. None: all positions. Rows with
            fewer than V positions are filled with position 0, which ``visible_padding`` marks.
        visible_padding: (R, V) bool or None; true = filler.
        target_indices: (N,) int64; the predicted positions as indices into the concatenated samples: ``b·T + t``.
        mask_indices: (N,) int64; the same positions as indices into the concatenated masks: ``(b·M + m)·T + t``.
        row_indices: (N,) int64; the same positions as indices into the concatenated rows: ``(b·C + c)·T + t``.
        longest: the largest number of predicted positions in a mask.
    """

    predicted: Tensor
    contexts: int
    hidden: Tensor | None
    replaced: Tensor | None
    replacement: Tensor | None
    visible: Tensor | None
    visible_padding: Tensor | None
    target_indices: Tensor
    mask_indices: Tensor
    row_indices: Tensor
    longest: int

    @property
    def masks(self) -> int:
        """M, the number of masks per sample."""
        return self.predicted.shape[1]

    @property
    def count(self) -> int:
        """N, the number of predicted positions of all rows; known without synchronising with the device."""
        return self.target_indices.shape[0]

    @classmethod
    def collate(cls, masks: Sequence[Mask], positions: int) -> BatchMask:
        """Joins the masks of B samples; each covers its sample's own positions and is padded to T = ``positions``.

        Positions beyond a sample's own are padding and are never predicted.

        Raises:
            SpecError: the number of contexts does not divide the number of masks.
        """
        predicted = torch.stack([_pad(mask.predicted, positions) for mask in masks])  # (B, M, T)
        corruption = torch.stack([_pad(mask.corruption, positions) for mask in masks])  # (B, C, T)
        _, m, t = predicted.shape
        contexts = corruption.shape[1]
        if m % contexts:
            hint = "draw the same number of masks for each context"
            raise SpecError(f"{m} masks cannot be shared by {contexts} contexts", where="experiment.masker", hint=hint)
        kinds = (Corruption.HIDE, Corruption.REPLACE, Corruption.DROP)
        hidden, replaced, dropped = (corruption == kind for kind in kinds)
        replacement = None
        if replaced.any() or any(mask.replacement is not None for mask in masks):
            replacement = torch.stack(
                [_pad(m.replacement if m.replacement is not None else m.corruption.long(), positions) for m in masks]
            )
        visible = visible_padding = None
        if dropped.any():
            lengths = torch.tensor([mask.predicted.shape[1] for mask in masks])
            held = ~dropped & (torch.arange(positions) < lengths[:, None, None])  # (B, C, T)
            visible, visible_padding = _visible(held.flatten(0, 1))  # (B, C, T) -> (R, T)
        samples, numbers, columns = predicted.nonzero(as_tuple=True)
        rows = samples * contexts + numbers // (m // contexts)
        return cls(
            predicted=predicted,
            contexts=contexts,
            hidden=hidden if hidden.any() else None,
            replaced=replaced if replaced.any() else None,
            replacement=replacement,
            visible=visible,
            visible_padding=visible_padding,
            target_indices=samples * t + columns,
            mask_indices=(samples * m + numbers) * t + columns,
            row_indices=rows * t + columns,
            longest=int(predicted.sum(-1).max()),
        )


@attrs.frozen(kw_only=True, eq=False)
class View:
    """One view of every sample of a batch: the whole sample, a crop, or an augmentation.

    Attributes:
        content: (B, *axes); the source's samples, padded with zeros to the longest sample.
        padding: (B, T) bool or None; true = no data, in positions of the encoder. None: no sample is padded.
        layout: the arrangement of the T positions.
        lengths: (B,) int64 or None; the sizes of the samples along the axis that varies, before padding.
        mask: what the student must predict in this view; None: nothing, and the student sees the whole view.
        keys: (B,) int64, on the CPU, or None outside training; a random number for each (seed, step, view, sample),
            for random draws on the device (colours of images, the distractors of wav2vec 2.0) that do not depend on
            how the batch is split.
        student: whether the student encodes this view; see `TargetBuilder.student_views`.
    """

    content: Tensor
    layout: Layout
    padding: Tensor | None = None
    lengths: Tensor | None = None
    mask: BatchMask | None = None
    keys: Tensor | None = None
    student: bool = True


@attrs.frozen(kw_only=True, eq=False)
class Batch:
    """The data of a training step.

    Attributes:
        views: one or more views of the same samples.
        ids: (B,) int64, on the CPU; the samples' indices in the source, with which errors name samples.
        key: a random number for each (seed, step), equal on all processes and in all parts of a global batch; 0 outside
            training. It seeds draws that a whole step shares, such as the directions of SIGReg.
        fields: the values that the target builder asks for (`TargetBuilder.fields`), by name, each (B, *axes): int64
            ids, padded with -1 where sizes vary, or float32 numbers, padded with NaN.
    """

    views: tuple[View, ...]
    ids: Tensor
    key: int = 0
    fields: Mapping[str, Tensor] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, eq=False)
class Tokens:
    """A sequence of vectors for every row: the output of an encoder and the input of a backbone.

    Attributes:
        features: (R, V, D); before placing R = B and V = T.
        layout: the arrangement of all T positions, including dropped positions.
        padding: (R, V) bool or None; true = not data; no other position may attend to this position.
        positions: (R, V) int64 or None; each vector's position in the layout. None: all T positions, in order.
        num_prefix_tokens: number of vectors before the first position (class tokens). They are part of ``features`` and
            ``padding``, not of ``positions``.
        latents: (B, T, F) or None; the features of `FeatureEncoderModule.embed` before projection to D, for methods
            that predict or penalise them (the quantised latents of wav2vec 2.0).
    """

    features: Tensor
    layout: Layout
    padding: Tensor | None = None
    positions: Tensor | None = None
    num_prefix_tokens: int = 0
    latents: Tensor | None = None


@attrs.frozen(kw_only=True)
class HiddenState:
    """The identifier of one inner feature of a backbone.

    Attributes:
        block: the index of a block in `BackboneModule.blocks`, from 0 for the lowest.
        feature: ``ffn`` is the feed-forward output before its residual connection, ``ffn+residual`` the sum after it,
            ``attention`` the self-attention's output before its own residual connection, ``block`` the block's output:
            the sum, or the norm of the sum if norms follow the connections.
    """

    block: int
    feature: Feature

    @classmethod
    def last(cls, feature: Feature, count: int, blocks: int) -> tuple[HiddenState, ...]:
        """Returns one feature of the top ``count`` of ``blocks`` blocks, from lower to upper."""
        return tuple(cls(block=block, feature=feature) for block in range(blocks - count, blocks))

    @staticmethod
    def by_block(wanted: Sequence[HiddenState], blocks: int) -> dict[int, tuple[Feature, ...]]:
        """Groups the requested features by block, for a backbone's ``forward``.

        Raises:
            SpecError: a requested block does not exist.
        """
        found: dict[int, tuple[Feature, ...]] = {}
        for one in wanted:
            if not 0 <= one.block < blocks:
                what = f"the {one.feature} of block {one.block} is asked for, and the backbone has {blocks} blocks"
                raise SpecError(what, hint=f"blocks are counted from 0: ask for 0 to {blocks - 1}")
            found[one.block] = (*found.get(one.block, ()), one.feature)
        return found


@attrs.frozen(kw_only=True, eq=False)
class BackboneOutput:
    """The output of a backbone.

    Attributes:
        output: (R, V, D); one vector for each input vector, prefix tokens included.
        tokens: the sequence to which ``output`` belongs: the input, unless the backbone changes the sequence (latents
            of a Perceiver, the pooled grid of a convolutional network).
        hidden_states: (R, V, D) each; the requested inner features, in the order of the request.
        pooled: (R, P) or None; one vector per row, for backbones that end in a single vector (a projector).
    """

    output: Tensor
    tokens: Tokens
    hidden_states: tuple[Tensor, ...] = ()
    pooled: Tensor | None = None

    def positions_only(self, values: Tensor) -> Tensor:
        """Removes the prefix tokens from ``values`` (R, V, D): (R, V - num_prefix_tokens, D)."""
        return values[:, self.tokens.num_prefix_tokens :] if self.tokens.num_prefix_tokens else values


@attrs.frozen(kw_only=True, eq=False)
class Attention:
    """The attention weights of one block of a backbone, for visualization.

    Attributes:
        weights: (R, H, Q, V) float32; for H heads and Q queries, the attention weight of each of the V input vectors,
            prefix tokens included. The weights of a query add up to 1, and the weights of padding are 0.
        latent: whether the queries are the backbone's own vectors, such as a Perceiver's latents. Otherwise Q = V, and
            query q is vector q.
    """

    weights: Tensor
    latent: bool = False


@attrs.frozen(kw_only=True, eq=False)
class StudentPass:
    """The student's pass over one view; empty for a view that the student does not encode.

    Attributes:
        index: the index of the view in the batch.
        view: the view, with its mask.
    """

    index: int = 0
    view: View
    _tokens: Tokens | None = None
    _backbone_output: BackboneOutput | None = None

    @property
    def encoded(self) -> bool:
        """Whether the student encodes this view (`TargetBuilder.student_views`)."""
        return self._tokens is not None

    @property
    def tokens(self) -> Tokens:
        """The encoder's output before masking; raises a `SpecError` if the student does not encode this view."""
        return self._require(self._tokens)

    @property
    def backbone_output(self) -> BackboneOutput:
        """The backbone's output after masking; raises a `SpecError` if the student does not encode this view."""
        return self._require(self._backbone_output)

    def _require(self, value: Held | None) -> Held:
        if value is None:
            what = f"a part of the method reads the student's output of view {self.index}, which only others encode"
            hint = "use targets and an objective that read the same views"
            raise SpecError(what, where="experiment.targets", hint=hint)
        return value


@attrs.frozen(kw_only=True, eq=False)
class Target:
    """What the student must predict from one view.

    Attributes:
        view: the index of the view from which the target is predicted.
        values: the values to predict. Per position and continuous: (B, T, D) floats. Per position and discrete:
            (B, T) int64 ids. Per sample: (B, D) floats or (B,) int64. Per sequence: (B, L) int64 ids, padded with -1.
        level: whether ``values`` holds a value per position, per sample, or a sequence for each sample.
    """

    view: int
    values: Tensor
    level: Level = "position"


@attrs.frozen(kw_only=True, eq=False)
class Loss:
    """The result of an objective on a batch, or on a part of one.

    Attributes:
        terms: each term's weighted sum over its targets, a scalar with gradient. The learner divides it by the number
            of targets of the whole global batch, so that splitting the batch does not change the gradient.
        predictions: (N, D) without gradient, for the collapse metrics.
        targets: (N, D) without gradient, for the collapse metrics.
        scalars: further scalars to log, without gradient: means over the part's targets. The trainer averages them over
            the parts of a batch, weighted by the number of targets.
    """

    terms: Mapping[str, Tensor]
    predictions: Tensor | None = None
    targets: Tensor | None = None
    scalars: Mapping[str, Tensor] = attrs.field(factory=dict)


Moved = TypeVar("Moved")


def move(value: Moved, device: torch.device) -> Moved:
    """Moves a value of this module, or a tuple of values, to ``device``; ids and keys stay on the CPU."""
    moved: Moved = _each_tensor(value, lambda tensor: tensor.to(device, non_blocking=True), left_out=("ids", "keys"))
    return moved


def pin(value: Moved) -> Moved:
    """Copies a value to page-locked memory, from which a GPU can copy while it computes."""
    pinned: Moved = _each_tensor(value, torch.Tensor.pin_memory)
    return pinned


def mean_over_positions(values: Tensor, padding: Tensor | None) -> Tensor:
    """Computes the mean over positions that are data.

    Args:
        values: (R, V, D); values at padding, even NaN, are ignored.
        padding: (R, V) bool; true = not data. None: all positions are data.

    Returns:
        (R, D); zeros for a row without data.
    """
    if padding is None:
        return values.mean(1)
    held = (~padding).sum(1, keepdim=True).clamp(min=1)  # (R, 1)
    return values.masked_fill(padding[..., None], 0).sum(1) / held


def _each_tensor(value: Any, change: Callable[[Tensor], Tensor], left_out: Sequence[str] = ()) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _each_tensor(item, change, left_out) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_each_tensor(item, change, left_out) for item in value)
    if not attrs.has(type(value)):
        return value
    fields = {field.alias: getattr(value, field.name) for field in attrs.fields(type(value))}
    changes = {name: _each_tensor(one, change, left_out) for name, one in fields.items() if name not in left_out}
    return attrs.evolve(value, **changes)


def _pad(values: Tensor, positions: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, positions - values.shape[1]))  # (M, t) -> (M, T)


def _visible(held: Tensor) -> tuple[Tensor, Tensor | None]:
    """Returns the positions (R, V) that each row of ``held`` (R, T) holds, in order, and marks filler positions."""
    counts = held.sum(1)  # (R,)
    most = int(counts.max())
    order = torch.argsort((~held).to(torch.uint8), dim=1, stable=True)[:, :most]  # (R, V): held ones first
    filler = torch.arange(most) >= counts[:, None]
    return order.masked_fill(filler, 0), filler if filler.any() else None
