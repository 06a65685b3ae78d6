"""The invented language: it is reproducible, and as difficult as documented."""

import collections

import numpy as np
import pytest

from didact_quickstart.language import LINKING_WORDS, SUBJECTS, WORDS_OF_SUBJECT, Language, write_texts


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    write_texts(folder)
    return folder


def rows(folder, split):
    """The sentences and labels of a table, its header checked."""
    header, *body = (folder / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "text\tlabel"
    texts, labels = zip(*(line.split("\t") for line in body), strict=True)
    return texts, np.array([SUBJECTS.index(label) for label in labels])


def paragraphs(folder):
    return (folder / "corpus.txt").read_text(encoding="utf-8").split("\n\n")


def nearest_centroid(train, labels, test):
    """The class (N,) whose mean direction of ``train`` each row of ``test`` has the largest product with."""
    centroids = np.stack([train[labels == label].mean(0) for label in range(len(SUBJECTS))])
    return (test @ centroids.T).argmax(1)


def counted(texts, vocabulary):
    """Bags of words: (N, W)."""
    bags = np.zeros((len(texts), len(vocabulary)))
    for number, text in enumerate(texts):
        for word in text.split():
            bags[number, vocabulary[word]] += 1
    return bags


def test_all_words_differ_and_there_are_as_many_as_it_says():
    language = Language.invent()
    words = [*language.linking, *(word for state in language.subjects for word in state)]
    assert len(set(words)) == len(words) == LINKING_WORDS + len(SUBJECTS) * WORDS_OF_SUBJECT


def test_the_same_seed_writes_the_same_and_another_seed_another(written, tmp_path):
    write_texts(tmp_path / "again")
    write_texts(tmp_path / "other", seed=1)
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
        assert path.read_bytes() != (tmp_path / "other" / path.name).read_bytes()


def test_every_subject_is_written_of_equally_often(written):
    for split in ("train", "test"):
        _, labels = rows(written, split)
        assert set(collections.Counter(labels).values()) == {len(labels) // len(SUBJECTS)}


def test_no_word_of_a_subject_is_in_both_tables(written):
    linking = {*Language.invent().linking, "."}
    train, test = ({word for text in rows(written, split)[0] for word in text.split()} for split in ("train", "test"))
    assert (train & test) <= linking
    assert len(train - linking) == len(test - linking) == len(SUBJECTS) * WORDS_OF_SUBJECT // 2


def test_a_bag_of_words_cannot_tell_the_subject(written):
    (train, labels), (test, truth) = rows(written, "train"), rows(written, "test")
    vocabulary = {
        word: number for number, word in enumerate(sorted({w for text in (*train, *test) for w in text.split()}))
    }
    guessed = nearest_centroid(counted(train, vocabulary), labels, counted(test, vocabulary))
    assert (guessed == truth).mean() < 0.2


def test_the_company_of_words_tells_the_subject(written):
    """Words as what stands in the same paragraphs, reduced to ten dimensions (Deerwester et al. 1990)."""
    (train, labels), (test, truth), corpus = rows(written, "train"), rows(written, "test"), paragraphs(written)
    vocabulary = {
        word: number for number, word in enumerate(sorted({word for text in corpus for word in text.split()}))
    }
    bags = counted(corpus, vocabulary)
    bags -= bags.mean(0)
    _, directions = np.linalg.eigh(bags.T @ bags)
    vectors = directions[:, -len(SUBJECTS) :]  # (W, 10)
    guessed = nearest_centroid(counted(train, vocabulary) @ vectors, labels, counted(test, vocabulary) @ vectors)
    assert (guessed == truth).mean() > 0.9
