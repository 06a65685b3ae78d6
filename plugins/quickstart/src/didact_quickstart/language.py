"""An invented language, whose words are related by the contexts in which they occur.

A minute is too short to learn from real text, so this text is generated. Its words belong to ten subjects, and each
paragraph has one subject. Only co-occurrence shows that two words share a subject (Harris 1954). The labelled sentences
alone do not solve the task:

- the test sentences contain no subject word of the labelled training sentences, so a bag of words scores at chance;
- linking words, a third of all words and distributed by Zipf's law, and stray words of other subjects are noise;
- all words are made of syllables from one distribution, so spelling does not reveal the subject.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np

from didact.randomness import key

CONSONANTS = "bdfgklmnprstvz"
VOWELS = "aeiou"
SUBJECTS = tuple("abcdefghij")
WORDS_OF_SUBJECT = 24  # half of them in the labelled training sentences, half in the test sentences
LINKING_WORDS = 20  # they belong to no subject
LINKING_SHARE = 0.35  # of the words of a text
STRAY_SHARE = 0.1  # of the subject words of a paragraph, drawn from any subject
SENTENCE_WORDS = 12


@attrs.frozen(kw_only=True)
class Language:
    """The vocabulary.

    Attributes:
        linking: words of one syllable that occur with every subject, the most frequent first.
        subjects: the words of two syllables that belong to each of `SUBJECTS`.
    """

    linking: tuple[str, ...]
    subjects: tuple[tuple[str, ...], ...]

    @classmethod
    def invent(cls, seed: int = 0) -> Language:
        """Generates a vocabulary from a seed; all words differ."""
        generator = np.random.default_rng(key(seed, "language"))
        syllables = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
        linking = generator.choice(syllables, LINKING_WORDS, replace=False)
        pairs = generator.choice(len(syllables) ** 2, len(SUBJECTS) * WORDS_OF_SUBJECT, replace=False)
        words = [syllables[pair // len(syllables)] + syllables[pair % len(syllables)] for pair in pairs]
        starts = range(0, len(words), WORDS_OF_SUBJECT)
        subjects = tuple(tuple(words[start : start + WORDS_OF_SUBJECT]) for start in starts)
        return cls(linking=tuple(str(word) for word in linking), subjects=subjects)

    def sentence(self, words: tuple[str, ...], stray_share: float, generator: np.random.Generator) -> str:
        """Generates one sentence.

        Args:
            words: the subject words that the sentence may contain.
            stray_share: share of subject words that are replaced with a word of any subject.
            generator: random generator of the choice of words.
        """
        weights = 1 / np.arange(1, len(self.linking) + 1)  # Zipf's law
        chosen = generator.choice(self.linking, SENTENCE_WORDS, p=weights / weights.sum())
        everywhere = [word for subject in self.subjects for word in subject]
        lot = generator.uniform(size=SENTENCE_WORDS)
        subject = np.where(
            generator.uniform(size=SENTENCE_WORDS) < stray_share,
            generator.choice(everywhere, SENTENCE_WORDS),
            generator.choice(words, SENTENCE_WORDS),
        )
        return " ".join(np.where(lot < LINKING_SHARE, chosen, subject)) + " ."


def write_texts(folder: Path, *, paragraphs: int = 5_000, sentences: int = 1_000, seed: int = 0) -> None:
    """Writes ``corpus.txt``, and ``{train,test}.tsv`` with text and label.

    Args:
        folder: created if it is missing.
        paragraphs: number of unlabelled paragraphs of six sentences; every subject has the same number.
        sentences: number of labelled sentences in each table.
        seed: seed of all random choices.
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
