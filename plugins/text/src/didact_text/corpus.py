"""The tokenized text of a store, in one memory-mapped file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from didact_stores.store import Store
from didact_text import derived
from didact_text.bpe import END, Tokenizer
from didact_text.progress import Progress

BATCH_BYTES = 1 << 22  # bytes of text per call of the tokenizer, which divides them among its threads


class Corpus:
    """The ids of every record of a store, with ``</s>`` after each line, as in RoBERTa's data.

    Attributes:
        ids: (I,) uint16 or uint32; the ids of all records, in order.
        offsets: (N + 1,) int64; record n is ``ids[offsets[n] : offsets[n + 1]]``.
    """

    def __init__(self, folder: Path) -> None:
        file = next(folder.glob("ids.*"))  # its suffix is its dtype
        self.ids: np.ndarray = np.memmap(file, dtype=file.suffix[1:], mode="r")
        self.offsets: np.ndarray = np.load(folder / "offsets.npy")

    @classmethod
    def prepare(cls, store: Store, tokenizer: Tokenizer) -> None:
        """Tokenizes the store, unless it has been tokenized before."""
        tokenizer.prepare()
        derived.derive(_folder(store, tokenizer), lambda folder: _tokenize(store, tokenizer, folder))

    @classmethod
    def open(cls, store: Store, tokenizer: Tokenizer) -> Corpus:
        """Opens the ids that `prepare` made.

        Raises:
            DataError: the ids do not exist yet.
        """
        return cls(derived.require(_folder(store, tokenizer), f"the tokenized text of {store.path.name!r}"))


def _folder(store: Store, tokenizer: Tokenizer) -> Path:
    return derived.place(store, "tokens", tokenizer.fingerprint())


def _tokenize(store: Store, tokenizer: Tokenizer, folder: Path) -> None:
    encoder = tokenizer.load()
    dtype = np.dtype(np.uint16 if tokenizer.vocabulary <= 1 << 16 else np.uint32)
    counts = np.zeros(len(store) + 1, dtype=np.int64)
    with (
        Progress(f"tokenizing {store.path.name}", len(store)) as progress,
        (folder / f"ids.{dtype.name}").open("wb") as file,
    ):
        for first, last in _batches(store.lengths):
            documents = [store.get(index).data.decode().split("\n") for index in range(first, last)]
            lines = list(itertools.chain.from_iterable(documents))
            encoded = iter(encoder.encode_batch_fast(lines, add_special_tokens=False))  # on all cores, without the GIL
            for index, document in enumerate(documents, first):
                for encoding in itertools.islice(encoded, len(document)):
                    ids = np.array([*encoding.ids, END], dtype=dtype)
                    counts[index + 1] += len(ids)
                    file.write(ids.tobytes())
            progress.advance(last - first)
    np.save(folder / "offsets.npy", np.cumsum(counts))


def _batches(lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of records (first, last) of at most `BATCH_BYTES` of text, or of a single longer record."""
    ends = np.cumsum(lengths)
    first, start = 0, 0.0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, start + BATCH_BYTES, side="right")))
        yield first, last
        first, start = last, float(ends[last - 1])
