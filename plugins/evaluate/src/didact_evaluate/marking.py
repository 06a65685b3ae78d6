"""Text with what a mask does to it, in marks that survive plain text."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from didact import BatchMask


class Fate(enum.Enum):
    """What becomes of a position in the student's input."""

    SEEN = enum.auto()
    HIDDEN = enum.auto()
    REPLACED = enum.auto()
    KEPT = enum.auto()


def fates(mask: BatchMask, sample: int, number: int, held: int) -> list[Fate]:
    """What mask ``number`` does to each of the ``held`` positions that a sample has of its own."""
    row = sample * mask.masks + number
    left = set(range(held))
    if mask.visible is not None:
        visible, filler = mask.visible[row], mask.visible_padding
        left = set((visible if filler is None else visible[~filler[row]]).tolist())

    def fate(position: int) -> Fate:
        at = (sample, number, position)
        if mask.replaced is not None and bool(mask.replaced[at]):
            return Fate.REPLACED
        if position not in left or (mask.hidden is not None and bool(mask.hidden[at])):
            return Fate.HIDDEN
        return Fate.KEPT if bool(mask.predicted[at]) else Fate.SEEN

    return [fate(position) for position in range(held)]


def marked(words: Sequence[str], found: Sequence[Fate], others: Sequence[str] | None) -> str:
    """A text with marks where a mask changes it; hidden words that follow each other are marked as one.

    Args:
        words: of the text, one for each position.
        found: what becomes of each.
        others: what stands at replaced positions instead; None where they are not known.
    """
    pieces: list[str] = []
    hidden = ""
    for position, (word, fate) in enumerate(zip(words, found, strict=True)):
        if fate is Fate.HIDDEN:
            hidden += word
            continue
        if hidden:
            pieces.append(_marked(hidden))
            hidden = ""
        if fate is Fate.REPLACED:
            pieces.append(_marked(word, f" → {_bare(others[position])}" if others is not None else " → ?"))
        else:
            pieces.append(_marked(word, " =") if fate is Fate.KEPT else word)
    return "".join([*pieces, _marked(hidden)] if hidden else pieces)


def refilled(words: Sequence[str], others: Mapping[int, str]) -> str:
    """A text with, at some positions, the word that was found for the one that was hidden there."""
    return "".join(
        word
        if position not in others
        else _marked(word, " =" if others[position] == word else f" → {_bare(others[position])}")
        for position, word in enumerate(words)
    )


def _marked(word: str, more: str = "") -> str:
    """A word in marks, the space before it outside."""
    space = word[: len(word) - len(word.lstrip())] if word.strip() else ""
    return f"{space}[[{_bare(word)}{more}]]"


def _bare(word: str) -> str:
    return word.strip() or repr(word)[1:-1]
