"""An invented language, whose words are known by the company they keep.

No text is small enough to be learned from in a minute, so this one is generated, and called so. Its words belong to ten
subjects, and a paragraph keeps to one of them: that "gebe" and "dunu" belong together shows only in their standing side
by side (Harris 1954). The task is built so that no label can tell it:

- what judges a representation are sentences in words that no labelled sentence holds, so that a bag of words knows
  nothing of them;
- words between them, a third of all and frequent as Zipf has it, and strays from other subjects tell nothing;
- all words are syllables drawn alike, so that none looks like its subject.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np

from didact.randomness import key

CONSONANTS = "bdfgklmnprstvz"
VOWELS = "aeiou"
SUBJECTS = tuple("abcdefghij")
WORDS_OF_SUBJECT = 24  # half of them in labelled sentences that are learned from, half in those that judge
LINKING_WORDS = 20  # which belong to no subject
LINKING_SHARE = 0.35  # of the words of a text
STRAY_SHARE = 0.1  # of the words of a paragraph that belong to a subject: to any
SENTENCE_WORDS = 12


@attrs.frozen(kw_only=True)
class Language:
    """The words there are.

    Attributes:
        linking: words of one syllable that stand everywhere, the most frequent first.
        subjects: the words of two syllables that belong to each of `SUBJECTS`.
    """

    linking: tuple[str, ...]
    subjects: tuple[tuple[str, ...], ...]

    @classmethod
    def invent(cls, seed: int = 0) -> Language:
        """The words, all different."""
        generator = np.random.default_rng(key(seed, "language"))
        syllables = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
        linking = generator.choice(syllables, LINKING_WORDS, replace=False)
        pairs = generator.choice(len(syllables) ** 2, len(SUBJECTS) * WORDS_OF_SUBJECT, replace=False)
        words = [syllables[pair // len(syllables)] + syllables[pair % len(syllables)] for pair in pairs]
        starts = range(0, len(words), WORDS_OF_SUBJECT)
        subjects = tuple(tuple(words[start : start + WORDS_OF_SUBJECT]) for start in starts)
        return cls(linking=tuple(str(word) for word in linking), subjects=subjects)

    def sentence(self, words: tuple[str, ...], stray_share: float, generator: np.random.Generator) -> str:
        """One sentence.

        Args:
            words: of its subject, those that it may use.
            stray_share: of them that are of any subject instead.
            generator: of all that differs between two sentences.
        """
        weights = 1 / np.arange(1, len(self.linking) + 1)  # Zipf's law
        chosen = generator.choice(self.linking, SENTENCE_WORDS, p=weights / weights.sum())
        everywhere = [word for subject in self.subjects for word in subject]
        lot = generator.uniform(size=SENTENCE_WORDS)
        telling = np.where(
            generator.uniform(size=SENTENCE_WORDS) < stray_share,
            generator.choice(everywhere, SENTENCE_WORDS),
            generator.choice(words, SENTENCE_WORDS),
        )
        return " ".join(np.where(lot < LINKING_SHARE, chosen, telling)) + " ."


def write_texts(folder: Path, *, paragraphs: int = 5_000, sentences: int = 1_000, seed: int = 0) -> None:
    """Writes ``corpus.txt``, and ``{train,test}.tsv`` with text and label.

    Args:
        folder: where to; made if it is missing.
        paragraphs: of six sentences each; of each subject equally many.
        sentences: that are labelled, in each of both tables.
        seed: of everything random in them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    language = Language.invent(seed)
    generator = np.random.default_rng(key(seed, "texts"))
    texts = []
    for number in range(paragraphs):
        words = language.subjects[number % len(SUBJECTS)]
        texts.append(" ".join(language.sentence(words, STRAY_SHARE, generator) for _ in range(6)))
    (folder / "corpus.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    for split, known in (("train", slice(0, None, 2)), ("test", slice(1, None, 2))):
        rows = ["text\tlabel\n"]
        for number in range(sentences):
            subject = number % len(SUBJECTS)
            sentence = language.sentence(language.subjects[subject][known], 0.0, generator)
            rows.append(f" {sentence}\t{SUBJECTS[subject]}\n")
        (folder / f"{split}.tsv").write_text("".join(rows), encoding="utf-8")
