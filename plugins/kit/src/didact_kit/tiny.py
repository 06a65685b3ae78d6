"""The smallest parts that follow the contract: test doubles for experiments around a part under test.

No plugin registers these parts, so a run that uses them can be recorded but not resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from didact.contracts.network import (
    Backbone,
    BackboneModule,
    FeatureEncoder,
    FeatureEncoderModule,
    Masker,
    Masking,
    Network,
)
from didact.errors import SpecError
from didact.loading import collate
from didact.placing import corrupt, drop, prepend, repeat
from didact.preflight import Preflight
from didact.randomness import generator, key, seeded
from didact.tensors import (
    BackboneOutput,
    Batch,
    BatchMask,
    HiddenState,
    Layout,
    Mask,
    Signal,
    StudentPass,
    Tokens,
    View,
    mean_over_positions,
)
from didact_kit.tiny_sources import TinySource


@attrs.frozen(kw_only=True)
class TinyEncoder(FeatureEncoder):
    """A linear map of each column of content (F, T) or (F, H, W), and a class token.

    Attributes:
        class_token: whether a learned vector precedes the positions.
    """

    width: int = 8
    class_token: bool = False

    def layout(self, size: tuple[int, ...]) -> Layout:
        return Layout(tuple(size[1:]))

    def build(self, signal: Signal) -> TinyEncoderModule:
        if len(signal.axes) not in (2, 3) or signal.axes[0] is None:
            what = f"TinyEncoder reads columns (F, T) or (F, H, W) with a fixed F, got axes {signal.axes}"
            raise SpecError(what, hint="use the source's own encoder")
        return TinyEncoderModule(signal.axes[0], self.width, self.class_token)


class TinyEncoderModule(FeatureEncoderModule):
    """The module of `TinyEncoder`."""

    def __init__(self, channels: int, width: int, class_token: bool) -> None:
        super().__init__()
        self.latent_width = channels
        self.projection = nn.Linear(channels, width)
        self.mask_embedding = nn.Parameter(torch.randn(width))
        self.class_token = nn.Parameter(torch.randn(width)) if class_token else None

    def embed(self, view: View) -> Tokens:
        """Content (B, F, T) or (B, F, H, W) to features (B, T, D), and the columns (B, T, F) as latents."""
        columns = view.content.flatten(2).transpose(1, 2)  # (B, F, T) -> (B, T, F)
        features = self.projection(columns)  # (B, T, D)
        return Tokens(features=features, layout=view.layout, padding=view.padding, latents=columns)

    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Features (B, T, D) to (R, V, D), with position codes that grow along the sequence."""
        tokens = _place(tokens, mask, self.mask_embedding)
        return tokens if self.class_token is None else prepend(tokens, self.class_token[None])


@attrs.frozen(kw_only=True)
class TinyWords(FeatureEncoder):
    """A learned vector for each id (T,); the last id is the mask. Objectives may tie their weights to its table."""

    width: int = 8

    def layout(self, size: tuple[int, ...]) -> Layout:
        return Layout(tuple(size))

    def build(self, signal: Signal) -> TinyWordsModule:
        if signal.vocabulary is None or len(signal.axes) != 1:
            what = f"TinyWords reads ids (T,), got {signal.kind} with axes {signal.axes}"
            raise SpecError(what, hint="use the source's own encoder")
        return TinyWordsModule(signal.vocabulary, self.width)


class TinyWordsModule(FeatureEncoderModule):
    """The module of `TinyWords`."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)

    def embed(self, view: View) -> Tokens:
        """Ids (B, T) to features (B, T, D)."""
        return Tokens(features=self.words(view.content), layout=view.layout, padding=view.padding)

    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Features (B, T, D) to (R, V, D), with position codes that grow along the sequence."""
        return _place(tokens, mask, self.words.weight[-1], self.words.weight)

    def input_embeddings(self) -> nn.Parameter:
        return cast(nn.Parameter, self.words.weight)


def _place(tokens: Tokens, mask: BatchMask | None, embedding: Tensor, content: Tensor | None = None) -> Tokens:
    """Features (B, T, D) to (R, V, D), corrupted, with position codes that grow along the sequence."""
    features = corrupt(tokens.features, mask, embedding, padding=tokens.padding, content=content)
    features = features + torch.arange(features.shape[1], device=features.device)[:, None] / 32 - 1
    return drop(attrs.evolve(tokens, features=features, padding=repeat(tokens.padding, mask)), mask)


@attrs.frozen(kw_only=True)
class TinyBackbone(Backbone):
    """Blocks that add the mean over the row and a linear map, each followed by a layer norm.

    Attributes:
        depth: the number of blocks.
    """

    depth: int = 4

    def build(self, width: int, layout: Layout | None) -> TinyBackboneModule:
        return TinyBackboneModule(width, self.depth)


class TinyBackboneModule(BackboneModule):
    """The module of `TinyBackbone`."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, tokens: Tokens, hidden_states: Sequence[HiddenState] = ()) -> BackboneOutput:
        """Relates the positions (R, V, D)."""
        wanted = HiddenState.by_block(hidden_states, len(self.blocks))
        x, found = tokens.features, dict[HiddenState, Tensor]()
        for index, block in enumerate(self.blocks):
            attention = mean_over_positions(x, tokens.padding)[:, None].expand_as(x)  # (R, D) -> (R, V, D)
            ffn = block(torch.tanh(x + attention))
            joined = x + ffn
            x = nn.functional.layer_norm(joined, x.shape[-1:])
            inner = {"attention": attention, "ffn": ffn, "ffn+residual": joined, "block": x}
            found |= {HiddenState(block=index, feature=feature): inner[feature] for feature in wanted.get(index, ())}
        return BackboneOutput(output=x, tokens=tokens, hidden_states=tuple(found[one] for one in hidden_states))


@attrs.frozen(kw_only=True)
class TinyMasker(Masker):
    """Predicts a random half of the positions of a sample.

    Attributes:
        masks: M per sample.
        corruption: the replacement for predicted positions.
    """

    masks: int = 1
    corruption: Literal["hide", "drop"] = "hide"

    @property
    def masking(self) -> Masking:
        return Masking.of(self.corruption, masks=self.masks)

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        if layout.positions < 2:
            raise SpecError("TinyMasker cannot hide half of one position", hint="make the samples longer")
        noise = torch.rand(self.masks, layout.positions, generator=generator)
        predicted = noise.argsort(1).argsort(1) < layout.positions // 2  # (M, T)
        return Mask.hide(predicted) if self.corruption == "hide" else Mask.drop(predicted)


@attrs.frozen(kw_only=True)
class SplitMasker(Masker):
    """Each mask of another masker, split into two masks of one context.

    Attributes:
        masker: the other masker.
    """

    masker: Masker

    @property
    def masking(self) -> Masking:
        inner = self.masker.masking
        contexts = inner.masks if inner.contexts is None else inner.contexts
        return attrs.evolve(inner, masks=2 * inner.masks, contexts=contexts)

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        mask = self.masker.sample(layout, generator=generator)
        first = mask.predicted & (mask.predicted.cumsum(1) % 2 == 1)  # (M, T)
        if not bool((mask.predicted & ~first).any(1).all()):
            raise SpecError("a mask of one position cannot be split", hint="make the samples longer")
        halves = torch.stack([first, mask.predicted & ~first], 1)  # (M, 2, T)
        return attrs.evolve(mask, predicted=halves.flatten(0, 1))


def tiny_network(encoder: FeatureEncoder | None = None, depth: int = 4, uneven: bool = True, seed: int = 0) -> Network:
    """A network for samples of `TinySource`."""
    encoder = encoder if encoder is not None else TinyEncoder()
    source = TinySource(uneven=uneven)
    layout = None if uneven else encoder.layout((source.channels, source.length))
    with seeded(seed, "tiny"):
        module = encoder.build(source.signal())
        return Network(module, TinyBackbone(depth=depth).build(encoder.width, layout), source.signal(), layout)


def tiny_batch(
    ids: Sequence[int] = range(4), masker: Masker | None = None, uneven: bool = True, views: int = 1
) -> Batch:
    """Returns a batch of samples of `TinySource`; a sample has the same content and masks in every batch."""
    encoder, samples = TinyEncoder(), TinySource(uneven=uneven).open()
    made = []
    for view in range(views):
        contents = [samples.views(i, length=None, generator=generator(0, "view", view, i))[0] for i in ids]
        collated = collate(contents, encoder, masker, [generator(0, "mask", view, i) for i in ids])
        made.append(attrs.evolve(collated, keys=torch.tensor([key(0, "step", view, i) for i in ids])))
    return Batch(views=tuple(made), ids=torch.tensor(list(ids)))


def passes_batch(passes: Sequence[StudentPass]) -> Batch:
    """Returns the batch of some passes: their views, with the samples numbered from 0."""
    return Batch(views=tuple(one.view for one in passes), ids=torch.arange(len(passes[0].view.content)))


def tiny_preflight(*layouts: Layout, steps: int = 1_000) -> Preflight:
    """Returns the preflight of a run on a hundred samples, in batches of eight.

    Args:
        layouts: the layouts of the samples, from fewest to most positions; all are equally frequent.
        steps: the number of steps of the run.
    """
    positions = np.array([layout.positions for layout in layouts or (Layout((16,)),)])
    return Preflight(
        steps=steps,
        samples=100,
        layouts=layouts or (Layout((16,)),),
        positions=positions,
        samples_per_step=np.array([8]),
        positions_per_step=8 * positions,
        steps_per_epoch=12.5,
        blocks=4,
    )
