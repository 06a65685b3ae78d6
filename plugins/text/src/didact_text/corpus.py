"""A store's text as ids, laid end to end in a file that is mapped into memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from didact.store import Store
from didact_text import derived
from didact_text.bpe import END, Tokenizer
from didact_text.progress import Progress

BATCH_BYTES = 1 << 22  # of text that the tokenizer's threads share at a time


class Corpus:
    """The ids of every record of a store, ``</s>`` after each of its lines, as RoBERTa's data have it.

    Attributes:
        ids: (I,) uint16 or uint32; those of all records, in their order.
        offsets: (N + 1,) int64; record n is ``ids[offsets[n] : offsets[n + 1]]``.
    """

    def __init__(self, folder: Path) -> None:
        file = next(folder.glob("ids.*"))  # its ending is its type
        self.ids: np.ndarray = np.memmap(file, dtype=file.suffix[1:], mode="r")
        self.offsets: np.ndarray = np.load(folder / "offsets.npy")

    @classmethod
    def prepare(cls, store: Store, tokenizer: Tokenizer) -> None:
        """Makes it, unless it was made."""
        tokenizer.prepare()
        derived.derive(_folder(store, tokenizer), lambda folder: _tokenize(store, tokenizer, folder))

    @classmethod
    def open(cls, store: Store, tokenizer: Tokenizer) -> Corpus:
        """It, read from where `prepare` left it.

        Raises:
            DataError: it was not prepared.
        """
        return cls(derived.require(_folder(store, tokenizer), f"the text of {store.path.name!r} as ids"))


def _folder(store: Store, tokenizer: Tokenizer) -> Path:
    return derived.place(store, "tokens", tokenizer.fingerprint())


def _tokenize(store: Store, tokenizer: Tokenizer, folder: Path) -> None:
    encoder = tokenizer.load()
    dtype = np.dtype(np.uint16 if tokenizer.vocabulary <= 1 << 16 else np.uint32)
    counts = np.zeros(len(store) + 1, dtype=np.int64)
    with (
        Progress(f"turning {store.path.name} into ids", len(store)) as progress,
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
    """Runs of records (first, last) of at most `BATCH_BYTES`, or of a single longer one."""
    ends = np.cumsum(lengths)
    first, start = 0, 0.0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, start + BATCH_BYTES, side="right")))
        yield first, last
        first, start = last, float(ends[last - 1])
