"""The values that travel through a training step, from a source's samples to a loss.

Legend: ``B`` samples of the batch, ``M`` masks per sample, ``R = B·M`` rows (row ``b·M + m`` is sample ``b`` behind its
mask ``m``), ``T`` positions of a sample, ``V`` positions a row still holds when some were dropped, ``D`` width,
``N`` predicted positions of the whole batch.
"""

from __future__ import annotations

import enum
import io
import math
import wave
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import attrs
import torch
from torch import Tensor

from didact.errors import SpecError

LOUDEST = 32_767  # of 16-bit PCM
Feature = Literal["ffn", "ffn+residual", "attention", "block"]


@attrs.frozen
class Layout:
    """The arrangement of a sample's positions.

    Attributes:
        shape: ``(T,)`` in a sequence; ``(H, W)`` in a grid, row by row.
    """

    shape: tuple[int, ...]

    @property
    def positions(self) -> int:
        """The number of positions."""
        return math.prod(self.shape)


@attrs.frozen(kw_only=True)
class Signal:
    """The description of a source's samples, from which an encoder is built and by which it checks that it fits.

    Attributes:
        kind: its name for encoders, such as ``waveform``, ``image`` or ``tokens``. The core never interprets it.
        axes: a sample's axes; None where the size differs from sample to sample. Mono sound is ``(None,)``, an image
            ``(3, 224, 224)``, a text ``(None,)``.
        rate_hz: values per second along the last axis, where time is that axis.
        vocabulary: number of ids, where the values are ids.
        coding: what the ids mean, such as a tokenizer with its settings; None where there is nothing to distinguish.
            Weights trained with one coding are meaningless with another.
    """

    kind: str
    axes: tuple[int | None, ...]
    rate_hz: int | None = None
    vocabulary: int | None = None
    coding: str | None = None


class Corruption(enum.IntEnum):
    """What the student's input holds at a position."""

    NONE = 0  # its own content; a predicted position may keep it (BERT's 10 %)
    HIDE = 1  # the encoder's mask embedding
    REPLACE = 2  # another content, drawn at random
    DROP = 3  # nothing: the position is removed from the sequence


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
        """Masks that remove what they predict from the student's sequence; ``predicted`` is (M, T) bool."""
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
        target_indices: (N,) int64; the predicted positions as indices into the samples end to end: ``b·T + t``.
        prediction_indices: (N,) int64; the same positions as indices into the rows end to end: ``(b·M + m)·T + t``.
    """

    predicted: Tensor
    hidden: Tensor | None
    replaced: Tensor | None
    replacement: Tensor | None
    visible: Tensor | None
    visible_padding: Tensor | None
    target_indices: Tensor
    prediction_indices: Tensor

    @property
    def masks(self) -> int:
        """M, the masks per sample."""
        return self.predicted.shape[1]

    @property
    def count(self) -> int:
        """N, the predicted positions of all rows; known without asking the device."""
        return self.target_indices.shape[0]

    @classmethod
    def collate(cls, masks: Sequence[Mask], positions: int) -> BatchMask:
        """Joins the masks of B samples, each over that sample's own positions, of which the longest has T.

        Positions beyond a sample's own are padding and never predicted.
        """
        predicted = torch.stack([_pad(mask.predicted, positions) for mask in masks])  # (B, M, T)
        corruption = torch.stack([_pad(mask.corruption, positions) for mask in masks])  # (B, M, T)
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
            held = ~dropped & (torch.arange(positions) < lengths[:, None, None])  # (B, M, T)
            visible, visible_padding = _visible(held.flatten(0, 1))  # (B, M, T) -> (R, T)
        samples, rows, columns = predicted.nonzero(as_tuple=True)
        _, m, t = predicted.shape
        return cls(
            predicted=predicted,
            hidden=hidden if hidden.any() else None,
            replaced=replaced if replaced.any() else None,
            replacement=replacement,
            visible=visible,
            visible_padding=visible_padding,
            target_indices=samples * t + columns,
            prediction_indices=(samples * m + rows) * t + columns,
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
        num_prefix_tokens: how many vectors precede the first position (class tokens). They are part of ``features`` and
            ``padding``, not of ``positions``.
        latents: (B, T, F) or None; what `FeatureEncoderModule.embed` had before it projected to D, of encoders whose
            method predicts or penalises that (the quantised latents of wav2vec 2.0).
    """

    features: Tensor
    layout: Layout
    padding: Tensor | None = None
    positions: Tensor | None = None
    num_prefix_tokens: int = 0
    latents: Tensor | None = None


@attrs.frozen(kw_only=True)
class HiddenState:
    """The name of one inner feature of a backbone.

    Attributes:
        block: the index of a block in `BackboneModule.blocks`, from 0 for the lowest.
        feature: ``ffn`` is the feed-forward output before its residual connection, ``ffn+residual`` the sum after it,
            ``attention`` the self-attention's output before its own residual connection, ``block`` what the block
            passes to the next one: the sum, or its norm where norms follow the connections.
    """

    block: int
    feature: Feature

    @classmethod
    def last(cls, feature: Feature, count: int, blocks: int) -> tuple[HiddenState, ...]:
        """One feature of the top ``count`` of ``blocks`` blocks, from lower to upper."""
        return tuple(cls(block=block, feature=feature) for block in range(blocks - count, blocks))

    @staticmethod
    def by_block(wanted: Sequence[HiddenState], blocks: int) -> dict[int, tuple[Feature, ...]]:
        """The features that are asked for of each block, for a backbone's ``forward``.

        Raises:
            SpecError: there is no such block.
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
    """What a backbone computes from a sequence.

    Attributes:
        output: (R, V, D); one vector for each input vector, prefix tokens included.
        tokens: the sequence that ``output`` stands for. It is the input, unless the backbone changes the sequence
            (latents of a Perceiver, the pooled grid of a convolutional network).
        hidden_states: (R, V, D) each; the inner features that were asked for, in the order of the request.
        pooled: (R, P) or None; one vector for the whole row, of backbones that end in one (a projector).
    """

    output: Tensor
    tokens: Tokens
    hidden_states: tuple[Tensor, ...] = ()
    pooled: Tensor | None = None

    def positions_only(self, values: Tensor) -> Tensor:
        """``values`` (R, V, D) without the prefix tokens: (R, V - num_prefix_tokens, D)."""
        return values[:, self.tokens.num_prefix_tokens :] if self.tokens.num_prefix_tokens else values


@attrs.frozen(kw_only=True, eq=False)
class Audio:
    """Mono audio.

    Attributes:
        samples: (S,) float; full scale at ±1.
        rate_hz: samples per second.
    """

    samples: Tensor
    rate_hz: int

    def wav(self) -> bytes:
        """A WAV file, 16-bit PCM; values beyond full scale are clipped."""
        pulses = (self.samples.detach().float().cpu().clamp(-1, 1) * LOUDEST).round().numpy().astype("<i2")  # (S,)
        file = io.BytesIO()
        with wave.open(file, "wb") as written:
            written.setparams((1, 2, self.rate_hz, len(pulses), "NONE", "not compressed"))  # mono, 2 bytes a sample
            written.writeframes(pulses.tobytes())
        return file.getvalue()


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
    """The student's pass over one view.

    Attributes:
        view: that it saw, behind the view's mask.
        tokens: the encoder's, before masking.
        backbone_output: after masking.
    """

    view: View
    tokens: Tokens
    backbone_output: BackboneOutput


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
    """The result of an objective on a batch, or on a part of one.

    Attributes:
        terms: each term's weighted sum over its targets, a scalar with gradient. The learner divides it by the number
            of targets of the whole global batch, so that no split of the batch changes the gradient.
        predictions: (N, D) without gradient, for the collapse measures.
        targets: (N, D) without gradient, likewise.
        scalars: further scalars to log, without gradient: means over the part's targets. Those of the parts of a batch
            are averaged, weighted by their number of targets.
    """

    terms: Mapping[str, Tensor]
    predictions: Tensor | None = None
    targets: Tensor | None = None
    scalars: Mapping[str, Tensor] = attrs.field(factory=dict)


Moved = TypeVar("Moved")


def move(value: Moved, device: torch.device) -> Moved:
    """A value of this module, or a tuple of them, on ``device``; what only the host reads of a `Batch` stays."""
    moved: Moved = _each_tensor(value, lambda tensor: tensor.to(device, non_blocking=True), left_out=("ids", "keys"))
    return moved


def pin(value: Moved) -> Moved:
    """The same value in page-locked memory, from which a GPU copies while it computes."""
    pinned: Moved = _each_tensor(value, torch.Tensor.pin_memory)
    return pinned


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


def _each_tensor(value: Any, change: Callable[[Tensor], Tensor], left_out: Sequence[str] = ()) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_each_tensor(item, change, left_out) for item in value)
    if not attrs.has(type(value)):
        return value
    fields = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    changes = {name: _each_tensor(one, change, left_out) for name, one in fields.items() if name not in left_out}
    return attrs.evolve(value, **changes)


def _pad(values: Tensor, positions: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, positions - values.shape[1]))  # (M, t) -> (M, T)


def _visible(held: Tensor) -> tuple[Tensor, Tensor | None]:
    """The positions (R, V) that each row of ``held`` (R, T) holds, in order, and which of them are filler."""
    counts = held.sum(1)  # (R,)
    most = int(counts.max())
    order = torch.argsort((~held).to(torch.uint8), dim=1, stable=True)[:, :most]  # (R, V): held ones first
    filler = torch.arange(most) >= counts[:, None]
    return order.masked_fill(filler, 0), filler if filler.any() else None
