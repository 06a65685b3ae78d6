"""The contract checks themselves: the tiny parts pass, and parts that break a promise are caught."""

from __future__ import annotations

import attrs
import pytest
import torch

from didact import Layout, Mask, Masker, Tokens
from didact.learner import Network
from didact.testing import (
    TinyBackbone,
    TinyEncoder,
    TinyMasker,
    TinySource,
    check_backbone,
    check_encoder,
    check_masker,
    check_source,
    check_spec,
    tiny_batch,
    tiny_network,
)
from didact.testing.tiny import TinyBackboneModule, TinyEncoderModule

LAYOUTS = [Layout((20,)), Layout((4, 5))]


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("class_token", [False, True])
def test_the_tiny_parts_keep_the_contract(uneven, class_token):
    source = TinySource(uneven=uneven)
    check_source(source)
    samples = source.open()
    check_encoder(TinyEncoder(class_token=class_token), source.signal(), [samples.content(i) for i in range(3)])
    check_backbone(TinyBackbone(), 8, Layout((12,)), extra=int(class_token))
    for corruption in ("hide", "drop"):
        check_masker(TinyMasker(masks=2, corruption=corruption), LAYOUTS)
    for spec in (source, TinyEncoder(), TinyBackbone(), TinyMasker()):
        check_spec(spec, class_of=lambda name: TinyMasker)


def test_a_tiny_batch_holds_the_same_samples_however_they_are_put_together():
    whole, part = tiny_batch(range(4), TinyMasker()), tiny_batch([2], TinyMasker())
    t = part.views[0].layout.positions
    assert torch.equal(whole.views[0].content[2, :, :t], part.views[0].content[0])
    assert torch.equal(whole.views[0].mask.predicted[2, :, :t], part.views[0].mask.predicted[0])
    assert whole.views[0].keys[2] == part.views[0].keys[0]
    assert isinstance(tiny_network(), Network)


@attrs.frozen(kw_only=True)
class BrokenMasker(TinyMasker):
    """Breaks one promise.

    Attributes:
        promise: which.
    """

    promise: str

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        mask = super().sample(layout, generator=generator)
        predicted = mask.predicted.clone()
        if self.promise == "all":
            return Mask.hide(torch.ones_like(predicted))
        if self.promise == "none":
            return Mask.hide(torch.zeros_like(predicted))
        if self.promise == "global":
            return Mask.hide(torch.rand(predicted.shape) < 0.5)
        if self.promise == "dtype":
            return attrs.evolve(mask, corruption=mask.corruption.long())
        if self.promise == "shape":
            return Mask.hide(predicted[:, 1:])
        return attrs.evolve(mask, predicted=torch.zeros_like(predicted).index_fill(1, torch.tensor([0]), True))


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        ("all", "no mask hides everything"),
        ("none", "every mask predicts something"),
        ("global", "global generator"),
        ("dtype", "corruption is uint8"),
        ("shape", r"predicted is \(M, T=20\)"),
        ("lost", "what is hidden or dropped is predicted"),
    ],
)
def test_a_masker_that_breaks_a_promise_is_caught(promise, words):
    with pytest.raises(AssertionError, match=words):
        check_masker(BrokenMasker(promise=promise), LAYOUTS)


def test_a_masker_is_a_spec():
    assert issubclass(TinyMasker, Masker)


class Leaking(TinyEncoderModule):
    def place(self, tokens: Tokens, mask) -> Tokens:
        placed = super().place(tokens, mask)
        return attrs.evolve(placed, features=placed.features + tokens.features.mean(1, keepdim=True))


class Padded(TinyEncoderModule):
    def embed(self, view) -> Tokens:
        tokens = super().embed(view)
        return attrs.evolve(tokens, features=tokens.features - tokens.features.mean(1, keepdim=True))


@pytest.mark.parametrize(
    ("module", "words"), [(Leaking, "never shows in what the student sees"), (Padded, "padding never changes a result")]
)
def test_an_encoder_that_breaks_a_promise_is_caught(module, words, monkeypatch):
    monkeypatch.setattr(TinyEncoder, "build", lambda self, signal: module(signal.axes[0], self.width, False))
    samples = TinySource(uneven=True).open()
    contents = [samples.content(i) for i in range(3)] if module is Padded else [samples.content(0)]
    with pytest.raises(AssertionError, match=words):
        check_encoder(TinyEncoder(), TinySource(uneven=True).signal(), contents)


class Attending(TinyBackboneModule):
    def forward(self, tokens, collect=None):
        context = super().forward(attrs.evolve(tokens, padding=None), collect)
        return attrs.evolve(context, tokens=tokens)


class Short(TinyBackboneModule):
    def forward(self, tokens, collect=None):
        context = super().forward(tokens, collect)
        return attrs.evolve(context, features=context.features[:-1])


@pytest.mark.parametrize(
    ("module", "words"), [(Attending, "what stands at padding changes nothing"), (Short, "one ffn for each of the 4")]
)
def test_a_backbone_that_breaks_a_promise_is_caught(module, words, monkeypatch):
    monkeypatch.setattr(TinyBackbone, "build", lambda self, width, layout: module(width, self.depth))
    with pytest.raises(AssertionError, match=words):
        check_backbone(TinyBackbone(), 8, Layout((12,)))


@attrs.frozen(kw_only=True)
class Undocumented(TinyMasker):
    """Says nothing of its field."""

    secret: int = 3


def test_a_spec_that_leaves_a_field_undocumented_is_caught():
    with pytest.raises(AssertionError, match=r"documents every field .* but not \['secret'\]"):
        check_spec(Undocumented())
