"""Digits and docstrings as files."""

import collections
import sysconfig

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from didact import DataError
from didact_quickstart import docstrings
from didact_quickstart.digits import write_digits
from didact_quickstart.docstrings import FAMILIES, standard_library, write_docstrings


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    write_docstrings(folder)
    return folder


@pytest.fixture(scope="module")
def library():
    return list(standard_library())


def rows(path):
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def test_digits_lie_in_their_classes_folders_and_lose_no_shade(tmp_path):
    write_digits(tmp_path)
    digits = load_digits()
    paths = sorted(tmp_path.rglob("*.png"), key=lambda path: path.stem)
    assert len(paths) == len(digits.images)
    assert [int(path.parent.name) for path in paths] == digits.target.tolist()
    for path, image in list(zip(paths, digits.images, strict=True))[::200]:
        grey = np.asarray(Image.open(path))
        assert grey.shape == (8, 8)
        assert np.array_equal(np.round(grey / 255 * 16), image)


def test_digits_that_judge_were_written_last(tmp_path):
    write_digits(tmp_path)
    train, test = ([int(path.stem) for path in (tmp_path / split).rglob("*.png")] for split in ("train", "test"))
    assert max(train) < min(test)
    assert 0.15 < len(test) / (len(train) + len(test)) < 0.25


def test_tables_have_a_header_and_two_columns_on_every_line(written):
    for split in ("train", "test"):
        header, *body = rows(written / f"{split}.tsv")
        assert header == ["text", "label"]
        assert all(len(row) == 2 and row[0].strip() for row in body)
        assert {row[1] for row in body} == set(FAMILIES)


def test_every_family_has_enough_to_learn_from_and_to_judge_on(written):
    for split, fewest in (("train", 80), ("test", 25)):
        counts = collections.Counter(label for _, label in rows(written / f"{split}.tsv")[1:])
        assert min(counts.values()) >= fewest, f"{split}: {counts}"


def test_no_judged_docstring_is_in_the_corpus_or_among_the_training_samples(written, library):
    train, test = ({text for text, _ in rows(written / f"{split}.tsv")[1:]} for split in ("train", "test"))
    assert not train & test
    kept = {" ".join(docstring.text.split()) for docstring in library if not docstring.held_out}
    assert not kept & test
    corpus = " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in (written / "corpus").iterdir())
    # the library repeats itself: a longer docstring may begin like a judged one
    long = [text for text in test if len(text.split()) >= 12]
    assert len(long) > 100
    assert sum(f" {text} " in corpus for text in long) < 0.01 * len(long)


def test_writing_twice_writes_the_same(written, tmp_path):
    write_docstrings(tmp_path)
    for path in sorted(written.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / path.relative_to(written)).read_bytes()


def test_docstrings_come_from_the_library_and_not_from_what_is_installed_beside_it(library):
    modules = {docstring.module.partition(".")[0] for docstring in library}
    assert {"asyncio", "email", "logging", "unittest"} <= modules
    assert not {"torch", "numpy", "test", "site-packages"} & modules


def test_a_docstring_is_held_out_by_its_text_alone():
    text = "Return the text that decides where it belongs."
    decided = {docstrings.Docstring(module=module, text=text).held_out for module in ("asyncio.base", "xml.dom")}
    assert len(decided) == 1


def test_what_belongs_to_no_family_is_never_held_out(library):
    assert not any(docstring.held_out for docstring in library if docstring.family is None)


def test_a_python_without_sources_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match="no sources of its standard library") as caught:
        write_docstrings(tmp_path / "text")
    assert "uv python install" in caught.value.mend
