"""Byte-level BPE, as in GPT-2 and RoBERTa: any text is a sequence of ids, without unknown tokens."""

from __future__ import annotations

import abc
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from didact import DataError, Spec
from didact_stores.store import Store
from didact_text import derived
from didact_text.progress import Progress

START, PAD, END, UNKNOWN = 0, 1, 2, 3  # RoBERTa's and fairseq's ids of `SPECIALS`
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
FIRST_WORD = len(SPECIALS)
MASK = "<mask>"  # always the last id of a vocabulary
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
# maps each symbol of a byte-level vocabulary to its byte (the inverse of GPT-2's bytes_to_unicode)
BYTES = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(256 + number): byte for number, byte in enumerate(sorted(set(range(256)) - set(_PRINTABLE)))
}
MINIMUM_FREQUENCY = 2  # occurrences in the text that a pair of symbols needs to get an id


@attrs.frozen(kw_only=True)
class Tokenizer(Spec, abc.ABC):
    """Converts text to ids: ``<s>`` 0, ``<pad>`` 1, ``</s>`` 2, ``<unk>`` 3, then words, and ``<mask>`` last."""

    @property
    @abc.abstractmethod
    def vocabulary(self) -> int:
        """The number of ids, including special tokens."""

    @property
    def coding(self) -> str:
        """Identifies the ids: weights that were trained on one coding are meaningless with another."""
        return repr(self)

    @abc.abstractmethod
    def file(self) -> Path:
        """The ``tokenizer.json`` file, in the format of the `tokenizers` library.

        Raises:
            DataError: the file does not exist yet.
        """

    def prepare(self) -> None:
        """Creates the file, unless it exists."""

    def load(self) -> tokenizers.Tokenizer:
        """Loads the tokenizer. It treats special tokens in a text, such as ``<mask>``, as plain text, and adds none.

        Raises:
            DataError: the file does not exist, cannot be read, or its special tokens have other ids than those above.
        """
        return _read(*_identified(self.file())).tokenizer

    def words(self, ids: Sequence[int]) -> tuple[str, ...]:
        r"""The text of each id, including a leading space; ``\xc3`` for an id that is only part of a character."""
        tokenizer = self.load()
        return tuple(_word(tokenizer, number) for number in ids)

    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's file."""
        return _read(*_identified(self.file())).fingerprint


@attrs.frozen(kw_only=True)
class ByteBPE(Tokenizer):
    """Byte-level BPE learned from a store, with merges only within GPT-2's words.

    Radford et al. 2019; Liu et al. 2019. The tokenizer is learned once and kept in the store's folder. The text is
    neither lower-cased nor normalised.

    Attributes:
        store: the name or path of the text store from whose records it is learned.
        vocabulary_size: number of ids, including the five special tokens and the 256 bytes; 50 265 in RoBERTa and
            data2vec. A small corpus has fewer frequent pairs: use a few thousand for a few megabytes.
    """

    store: str
    vocabulary_size: int = 50_265

    def validate(self) -> None:
        self.require(self.vocabulary_size >= 261, "vocabulary_size", "at least 261: 256 bytes and five special tokens")

    @property
    def vocabulary(self) -> int:
        return self.vocabulary_size

    def file(self) -> Path:
        folder = self._folder(Store.open(self.store, "text"))
        return derived.require(folder, f"the vocabulary of {self.store!r}") / "tokenizer.json"

    def prepare(self) -> None:
        """Learns the vocabulary, unless it exists.

        Raises:
            DataError: the store cannot be read, or its text is too small for this many ids.
        """
        store = Store.open(self.store, "text")
        derived.derive(self._folder(store), lambda folder: self._learn(store, folder))

    def _folder(self, store: Store) -> Path:
        return derived.place(store, "byte-bpe", self.vocabulary_size, MINIMUM_FREQUENCY)

    def _learn(self, store: Store, folder: Path) -> None:
        tokenizer = tokenizers.Tokenizer(models.BPE(unk_token=SPECIALS[UNKNOWN]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary_size - 1,
            min_frequency=MINIMUM_FREQUENCY,
            special_tokens=list(SPECIALS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        with Progress(f"learning a vocabulary from {self.store}", len(store)) as progress:
            tokenizer.train_from_iterator(_lines(store, progress), trainer)
        learnt = tokenizer.get_vocab_size() + 1
        if learnt < self.vocabulary_size:
            raise DataError(
                f"the text of {self.store!r} gives a vocabulary of {learnt:,} ids, not of {self.vocabulary_size:,}",
                where="tokenizer.vocabulary_size",
                hint=f"set vocabulary_size to at most {learnt}, or ingest more text",
            )
        tokenizer.add_special_tokens([MASK])
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")


@attrs.frozen(kw_only=True)
class TokenizerFile(Tokenizer):
    """An existing tokenizer, such as RoBERTa's.

    Attributes:
        path: path of a ``tokenizer.json`` in the format of the `tokenizers` library. The ids of its ``<s>``, ``<pad>``,
            ``</s>`` and ``<unk>`` must be 0, 1, 2 and 3, and its ``<mask>`` must be the last id.
        copy_of: the `Tokenizer.coding` of the tokenizer whose file was copied, as a run does; None: no copy.
    """

    path: str
    copy_of: str | None = attrs.field(default=None, repr=False)

    @property
    def coding(self) -> str:
        return self.copy_of or repr(self)

    @property
    def vocabulary(self) -> int:
        return self.load().get_vocab_size()

    def file(self) -> Path:
        return Path(self.path)


def _lines(store: Store, progress: Progress) -> Iterator[str]:
    for index in range(len(store)):
        yield from store.get(index).data.decode().split("\n")
        progress.advance()


def _word(tokenizer: tokenizers.Tokenizer, number: int) -> str:
    symbols = str(tokenizer.id_to_token(number))
    if number < FIRST_WORD or symbols == MASK or not set(symbols) <= set(BYTES):
        return symbols
    return bytes(BYTES[symbol] for symbol in symbols).decode(errors="backslashreplace")


@attrs.frozen(eq=False)
class _Loaded:
    tokenizer: tokenizers.Tokenizer
    fingerprint: str


def _identified(file: Path) -> tuple[Path, int]:
    """A file and the time of its last change: the key under which its tokenizer is cached."""
    try:
        return file, file.stat().st_mtime_ns
    except OSError as error:
        raise DataError(
            f"the tokenizer cannot be read: {error.strerror}", where=str(file), hint="give the path of a tokenizer.json"
        ) from error


@functools.lru_cache(maxsize=8)
def _read(file: Path, changed: int) -> _Loaded:
    data = file.read_bytes()
    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # foreign code: the library raises a bare Exception for what it cannot read
        raise DataError(
            f"the tokenizer cannot be read: {error}", where=str(file), hint="give a tokenizer.json of `tokenizers`"
        ) from error
    ids = {special: number for number, special in enumerate(SPECIALS)} | {MASK: tokenizer.get_vocab_size() - 1}
    for special, number in ids.items():
        if tokenizer.token_to_id(special) != number:
            raise DataError(
                f"the tokenizer's {special} must be {number}, got {tokenizer.token_to_id(special)}",
                where=str(file),
                hint="encoder and sources need RoBERTa's ids: renumber the vocabulary, or learn one with ByteBPE",
            )
    tokenizer.encode_special_tokens = True  # "<mask>" in a text is six characters
    return _Loaded(tokenizer, hashlib.sha256(data).hexdigest())
