"""Sources of text: their base, and sentences."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import attrs
import numpy as np
import torch
from torch import Tensor

from didact import DataError, Signal, Source
from didact.serialization import fingerprint
from didact_stores import Store, StoredSamples
from didact_text.bpe import END, FIRST_WORD, START, Tokenizer, TokenizerFile
from didact_text.corpus import Corpus

TOKENIZER = "tokenizer.json"


@attrs.frozen(kw_only=True)
class TokenSource(Source, abc.ABC):
    """A text store that is read as token ids. A sample is (T,) int64 and begins with ``<s>``.

    Attributes:
        store: the name or path of a store of text.
        tokenizer: converts the text to ids; learned from this store or from another.
        where: a condition that selects records, such as ``split == train``; None: all.
    """

    unit: ClassVar[str] = "tokens"

    store: str
    tokenizer: Tokenizer
    where: str | None = None

    def signal(self) -> Signal:
        return Signal(kind="tokens", axes=(None,), vocabulary=self.tokenizer.vocabulary, coding=self.tokenizer.coding)

    def prepare(self) -> None:
        """Learns the vocabulary and tokenizes the store, unless done before. Results are in ``STORE/derived``."""
        Corpus.prepare(Store.open(self.store, "text"), self.tokenizer)

    def assets(self) -> Mapping[str, Path]:
        """The tokenizer's file."""
        return {TOKENIZER: self.tokenizer.file()}

    def with_assets(self, assets: Mapping[str, Path]) -> Self:
        """The source with a tokenizer that is read from a file."""
        if TOKENIZER not in assets:
            return self
        return attrs.evolve(self, tokenizer=TokenizerFile(path=str(assets[TOKENIZER]), copy_of=self.tokenizer.coding))

    def ids(self, data: bytes, name: str) -> np.ndarray:
        """The ids (I,) int64 of a record's bytes, with ``</s>`` after each line, as in its store's corpus.

        Raises:
            DataError: the text is not UTF-8.
        """
        try:
            lines = data.decode().split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"it is not UTF-8: {error.reason}", where=name, hint="convert the text to UTF-8") from None
        encoded = self.tokenizer.load().encode_batch_fast(lines, add_special_tokens=False)
        return np.concatenate([np.array([*encoding.ids, END], dtype=np.int64) for encoding in encoded])

    def raw_features(self, content: Tensor) -> Tensor:
        """The bag of a sample's tokens: log(1 + count) of every word of the vocabulary, scaled to length 1.

        Args:
            content: (T,) int64.

        Returns:
            (vocabulary,) float32; zero for special tokens, which carry no information.
        """
        counts = torch.bincount(content, minlength=self.tokenizer.vocabulary).float()
        counts[:FIRST_WORD] = 0
        return torch.nn.functional.normalize(counts.log1p(), dim=0)

    def words(self, content: Tensor) -> tuple[str, ...]:
        """The words of ids (T,) int64; an id that is only a part of a character is given as its bytes."""
        return self.tokenizer.words(content.tolist())


@attrs.frozen(kw_only=True)
class Sentences(TokenSource):
    """One sample ``<s> … </s>`` for each record, as for text classification.

    A record of several lines has ``</s>`` after each of them. The labels are those of the store.

    Attributes:
        max_tokens: longer samples are cut to this length and end with ``</s>``; at most the positions of the encoder.
    """

    max_tokens: int = 512

    def validate(self) -> None:
        self.require(self.max_tokens >= 3, "max_tokens", "at least 3, a token between <s> and </s>")

    def open(self) -> SentenceSamples:
        return SentenceSamples(self)

    def read(self, data: bytes, name: str) -> Tensor:
        """The ids of a text, (T,) int64; at most ``max_tokens``."""
        return self.sample(self.ids(data, name))

    def whole(self) -> Sentences:
        """All records; long ones are still cut to ``max_tokens``, because encoders have no more positions."""
        return attrs.evolve(self, where=None)

    def sample(self, ids: np.ndarray) -> Tensor:
        """The sample (T,) int64 that holds the ids (I,) of a record."""
        sample = np.concatenate([[START], ids], dtype=np.int64)[: self.max_tokens]
        sample[-1] = END
        return torch.from_numpy(sample)


class SentenceSamples(StoredSamples):
    """The opened samples of `Sentences`."""

    def __init__(self, source: Sentences) -> None:
        store = Store.open(source.store, "text")
        super().__init__(store, source.where)
        self._corpus = Corpus.open(store, source.tokenizer)
        self.source = source
        tokens = np.diff(self._corpus.offsets)[self.places] + 1  # (N,), including the <s> before each
        self.lengths = np.minimum(tokens, source.max_tokens).astype(np.float64)
        self.fingerprint = fingerprint([self.fingerprint, source.tokenizer.fingerprint(), source.max_tokens])

    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (self.content(index),)

    def content(self, index: int) -> Tensor:
        """The ids of a record, (T,) int64."""
        record = self.place(index)
        start, end = self._corpus.offsets[record], self._corpus.offsets[record + 1]
        return self.source.sample(self._corpus.ids[start:end])
