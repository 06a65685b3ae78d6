"""Plain text with marks that show the effect of a mask."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from didact import BatchMask


class Fate(enum.Enum):
    """The effect of a mask on a position of the student's input."""

    SEEN = enum.auto()
    HIDDEN = enum.auto()
    REPLACED = enum.auto()
    KEPT = enum.auto()


def fates(mask: BatchMask, sample: int, number: int, held: int) -> list[Fate]:
    """Returns the effect of mask ``number`` on each of a sample's ``held`` positions, padding excluded."""
    context = number // (mask.masks // mask.contexts)
    row = sample * mask.contexts + context
    left = set(range(held))
    if mask.visible is not None:
        visible, filler = mask.visible[row], mask.visible_padding
        left = set((visible if filler is None else visible[~filler[row]]).tolist())

    def fate(position: int) -> Fate:
        at = (sample, context, position)
        if mask.replaced is not None and bool(mask.replaced[at]):
            return Fate.REPLACED
        if position not in left or (mask.hidden is not None and bool(mask.hidden[at])):
            return Fate.HIDDEN
        return Fate.KEPT if bool(mask.predicted[sample, number, position]) else Fate.SEEN

    return [fate(position) for position in range(held)]


def marked(words: Sequence[str], found: Sequence[Fate], others: Sequence[str] | None) -> str:
    """Marks the words of a text that a mask changes; consecutive hidden words share one mark.

    Args:
        words: words of the text, one for each position.
        found: effect of the mask on each position.
        others: words of the masked text, shown at replaced positions; None if they are unknown.
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
    """Marks the hidden words of a text and shows the word found for each, given by position in ``others``."""
    return "".join(
        word
        if position not in others
        else _marked(word, " =" if others[position] == word else f" → {_bare(others[position])}")
        for position, word in enumerate(words)
    )


def _marked(word: str, more: str = "") -> str:
    """Puts a word in double brackets and leaves its leading space outside."""
    space = word[: len(word) - len(word.lstrip())] if word.strip() else ""
    return f"{space}[[{_bare(word)}{more}]]"


def _bare(word: str) -> str:
    return word.strip() or repr(word)[1:-1]
