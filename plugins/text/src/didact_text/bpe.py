"""Byte-level BPE, as GPT-2 and RoBERTa have it: any text is a sequence of ids, and no text is unknown."""

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
from didact.store import Store
from didact_text import derived
from didact_text.progress import Progress

START, PAD, END, UNKNOWN = 0, 1, 2, 3  # RoBERTa's and fairseq's ids of `SPECIALS`
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
FIRST_WORD = len(SPECIALS)
MASK = "<mask>"  # always the last id of a vocabulary
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
# which byte each symbol of a byte-level vocabulary stands for (GPT-2's bytes_to_unicode, the other way round)
BYTES = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(256 + number): byte for number, byte in enumerate(sorted(set(range(256)) - set(_PRINTABLE)))
}
MINIMUM_FREQUENCY = 2  # a pair of symbols that was seen but once is not worth a vector


@attrs.frozen(kw_only=True)
class Tokenizer(Spec, abc.ABC):
    """What turns text into ids: ``<s>`` 0, ``<pad>`` 1, ``</s>`` 2, ``<unk>`` 3, then words, and ``<mask>`` last."""

    @property
    @abc.abstractmethod
    def vocabulary(self) -> int:
        """How many ids there are, specials included."""

    @abc.abstractmethod
    def file(self) -> Path:
        """The ``tokenizer.json`` of the `tokenizers` library that holds it.

        Raises:
            DataError: it is not there yet.
        """

    def prepare(self) -> None:
        """Makes what `file` names, where it is not there yet."""

    def load(self) -> tokenizers.Tokenizer:
        """The tokenizer. It takes no text for a special token, not even ``<mask>`` itself, and adds none.

        Raises:
            DataError: it is not there, cannot be read, or gives its special tokens other ids than those above.
        """
        return _read(*_identified(self.file())).tokenizer

    def words(self, ids: Sequence[int]) -> tuple[str, ...]:
        r"""The text of each id, with the space before it; of an id that is but a part of a character, ``\xc3``."""
        tokenizer = self.load()
        return tuple(_word(tokenizer, number) for number in ids)

    def fingerprint(self) -> str:
        """SHA-256 of what decides the ids of a text."""
        return _read(*_identified(self.file())).fingerprint


@attrs.frozen(kw_only=True)
class ByteBPE(Tokenizer):
    """Byte-level BPE learnt from a store, over words as GPT-2 splits them (Radford et al. 2019; Liu et al. 2019).

    It is learnt once and kept beside the store. The text is taken as it is: no lower-casing, no normalisation.

    Attributes:
        store: the name or path of the text store whose records it is learnt from.
        vocabulary_size: ids, the five specials and the 256 bytes included; 50 265 in RoBERTa and data2vec. A small
            corpus has not that many frequent pairs: a few thousand do for a few megabytes.
    """

    store: str
    vocabulary_size: int = 50_265

    def validate(self) -> None:
        self.require(self.vocabulary_size >= 261, "vocabulary_size", "at least 261, 256 bytes and five specials")

    @property
    def vocabulary(self) -> int:
        return self.vocabulary_size

    def file(self) -> Path:
        folder = self._folder(Store.open(self.store, "text"))
        return derived.require(folder, f"the vocabulary learnt from {self.store!r}") / "tokenizer.json"

    def prepare(self) -> None:
        """Learns the vocabulary, unless that was done.

        Raises:
            DataError: the store cannot be read, or has too little text for so many ids.
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
                mend=f"set vocabulary_size to at most {learnt}, or ingest more text",
            )
        tokenizer.add_special_tokens([MASK])
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")


@attrs.frozen(kw_only=True)
class TokenizerFile(Tokenizer):
    """A tokenizer that exists already, such as RoBERTa's own.

    Attributes:
        path: of a ``tokenizer.json`` as the `tokenizers` library writes it; its ``<s>``, ``<pad>``, ``</s>`` and
            ``<unk>`` must be 0, 1, 2 and 3, and its ``<mask>`` the last id.
    """

    path: str

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
    """A file and when it changed, under which what was read of it is kept."""
    try:
        return file, file.stat().st_mtime_ns
    except OSError as error:
        raise DataError(
            f"the tokenizer cannot be read: {error.strerror}", where=str(file), mend="name a tokenizer.json"
        ) from error


@functools.lru_cache(maxsize=8)
def _read(file: Path, changed: int) -> _Loaded:
    data = file.read_bytes()
    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # foreign code: the library raises a bare Exception for what it cannot read
        raise DataError(
            f"the tokenizer cannot be read: {error}", where=str(file), mend="name a tokenizer.json of `tokenizers`"
        ) from error
    ids = {special: number for number, special in enumerate(SPECIALS)} | {MASK: tokenizer.get_vocab_size() - 1}
    for special, number in ids.items():
        if tokenizer.token_to_id(special) != number:
            raise DataError(
                f"the tokenizer's {special} must be {number}, got {tokenizer.token_to_id(special)}",
                where=str(file),
                mend="encoder and sources count on RoBERTa's ids: renumber the vocabulary, or learn one with ByteBPE",
            )
    tokenizer.encode_special_tokens = True  # a text that says "<mask>" means these six characters
    return _Loaded(tokenizer, hashlib.sha256(data).hexdigest())
