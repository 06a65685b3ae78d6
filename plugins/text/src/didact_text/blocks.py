"""A corpus as blocks of equal length, the usual samples of masked language models."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from didact.serialization import fingerprint
from didact_stores import Store, StoredSamples
from didact_text import derived
from didact_text.bpe import END, START
from didact_text.corpus import Corpus
from didact_text.sources import Sentences, TokenSource


@attrs.frozen(kw_only=True)
class TextBlocks(TokenSource):
    """Blocks of a corpus: ``<s>``, then consecutive tokens, with ``</s>`` after each line of the text.

    Attributes:
        block_tokens: tokens in a block, including ``<s>``; 512 in RoBERTa and data2vec.
        breaks: where a block ends. ``document``: a block holds as many whole lines of one record as fit, and a longer
            line is cut (data2vec 1; fairseq's ``complete_doc`` skips such lines). ``none``: a block ends when it is
            full, so blocks span lines and records, and all but the last have the same length (data2vec 2.0).
    """

    block_tokens: int = 512
    breaks: Literal["document", "none"] = "document"

    def validate(self) -> None:
        self.require(self.block_tokens >= 2, "block_tokens", "at least 2, <s> and a token")

    def prepare(self) -> None:
        super().prepare()
        if self.breaks == "document":
            store = Store.open(self.store, "text")
            corpus = Corpus.open(store, self.tokenizer)
            derived.derive(
                blocks_folder(self, store), lambda folder: _save_blocks(corpus, self.block_tokens - 1, folder)
            )

    def open(self) -> DocumentBlocks | ContiguousBlocks:
        return DocumentBlocks(self) if self.breaks == "document" else ContiguousBlocks(self)

    def read(self, data: bytes, name: str) -> Tensor:
        """The ids (T,) int64 of a text's first block, as in a store that holds only this text."""
        ids, size = self.ids(data, name), self.block_tokens - 1
        end = size if self.breaks == "none" else int(document_blocks(ids, np.array([0, len(ids)]), size)[0, 1])
        return _behind_start(ids[:end])

    def whole(self) -> Sentences:
        """One sample for each record, cut to the length of a block, because encoders have no more positions."""
        return Sentences(store=self.store, tokenizer=self.tokenizer, max_tokens=max(3, self.block_tokens))


class _Blocks(StoredSamples):
    """Blocks of a corpus, each with ``<s>`` before it. A block belongs to the record in which it begins."""

    def __init__(self, source: TextBlocks) -> None:
        store = Store.open(source.store, "text")
        super().__init__(store, source.where)
        self._corpus = Corpus.open(store, source.tokenizer)
        identity = [self.fingerprint, source.tokenizer.fingerprint(), source.block_tokens, source.breaks]
        self.fingerprint = fingerprint(identity)

    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (self.content(index),)

    def name(self, index: int) -> str:
        return f"block {index}, which begins in {super().name(index)}"


class DocumentBlocks(_Blocks):
    """Blocks that do not cross records. Each block has the label of its record."""

    def __init__(self, source: TextBlocks) -> None:
        super().__init__(source)
        folder = derived.require(blocks_folder(source, self.store), f"the text of {source.store!r} in blocks")
        blocks = np.load(folder / "blocks.npy", mmap_mode="r")  # (N, 3)
        records = self.places
        if len(records) < len(self.store):
            blocks = blocks[np.isin(blocks[:, 2], records)]
        self._blocks = blocks
        self.lengths = (blocks[:, 1] - blocks[:, 0] + 1).astype(np.float64)
        if self.labels is not None:
            self.labels = self.labels[np.searchsorted(records, blocks[:, 2])]

    def place(self, index: int) -> int:
        return int(self._blocks[index, 2])

    def content(self, index: int) -> Tensor:
        """The ids of a block, (T,) int64."""
        start, end, _ = self._blocks[index]
        return _behind_start(self._corpus.ids[start:end])


class ContiguousBlocks(_Blocks):
    """Blocks of a corpus that is read as one stream."""

    def __init__(self, source: TextBlocks) -> None:
        super().__init__(source)
        self._size = source.block_tokens - 1
        records, offsets = self.places, self._corpus.offsets
        # consecutive records form a run, so that a corpus without a condition is a single run
        breaks = np.flatnonzero(np.diff(records) != 1) + 1
        firsts, lasts = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(records)]]) - 1
        self._starts = offsets[records[firsts]]  # (runs,) in the corpus
        self._ends = np.cumsum(offsets[records[lasts] + 1] - self._starts)  # (runs,) in the stream
        total = int(self._ends[-1])
        self.lengths = np.full(-(-total // self._size), self._size + 1, dtype=np.float64)
        self.lengths[-1] = total - (len(self.lengths) - 1) * self._size + 1
        self.labels, self.classes = None, ()  # a block may contain records of several classes

    def place(self, index: int) -> int:
        start, _ = self._locate(index * self._size)
        return int(np.searchsorted(self._corpus.offsets, start, side="right")) - 1

    def content(self, index: int) -> Tensor:
        """The ids of a block, (T,) int64."""
        at, end = index * self._size, min((index + 1) * self._size, int(self._ends[-1]))
        pieces = []
        while at < end:
            start, run = self._locate(at)
            pieces.append(self._corpus.ids[start : start + min(end, int(self._ends[run])) - at])
            at += len(pieces[-1])
        return _behind_start(np.concatenate(pieces))

    def _locate(self, position: int) -> tuple[int, int]:
        """Converts a position in the stream to a position in the corpus and the index of its run."""
        run = int(np.searchsorted(self._ends, position, side="right"))
        before = int(self._ends[run - 1]) if run else 0
        return int(self._starts[run]) + position - before, run


def document_blocks(ids: np.ndarray, offsets: np.ndarray, size: int) -> np.ndarray:
    """Packs the lines of every record into blocks, greedily and in order.

    Args:
        ids: (I,); the ids of all records, with ``</s>`` after each line.
        offsets: (N + 1,) int64; the start of each record, and the end of the last.
        size: largest number of tokens in a block.

    Returns:
        (blocks, 3) int64: the start of each block, its end, and its record.
    """
    whole = np.stack([offsets[:-1], offsets[1:], np.arange(len(offsets) - 1)], axis=1)  # (records, 3)
    too_long = np.diff(offsets) > size
    blocks = [whole[~too_long]]
    for at, end, record in whole[too_long]:
        line_ends = at + np.flatnonzero(ids[at:end] == END) + 1
        edges = [at]
        while at < end:
            fitting = int(np.searchsorted(line_ends, at + size, side="right")) - 1
            line_end = line_ends[fitting] if fitting >= 0 else at
            at = line_end if line_end > at else at + size  # a line longer than a block is cut
            edges.append(at)
        blocks.append(np.stack([edges[:-1], edges[1:], np.full(len(edges) - 1, record)], axis=1))
    packed = np.concatenate(blocks).astype(np.int64)
    return packed[np.argsort(packed[:, 0], kind="stable")]


def blocks_folder(source: TextBlocks, store: Store) -> Path:
    """Returns the folder of the blocks that do not cross records."""
    return derived.place(store, "blocks", source.tokenizer.fingerprint(), source.block_tokens)


def _save_blocks(corpus: Corpus, size: int, folder: Path) -> None:
    np.save(folder / "blocks.npy", document_blocks(corpus.ids, corpus.offsets, size))


def _behind_start(ids: np.ndarray) -> Tensor:
    return torch.from_numpy(np.concatenate([[START], ids], dtype=np.int64))
