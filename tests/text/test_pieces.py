"""A large text file that is read in pieces gives the same documents as when it is read at once."""

import gzip
import os
import re
import signal
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from didact import DataError
from didact_stores.ingest import Labels, Place, ingest, ingestion, pieces
from didact_stores.ingest.files import find
from didact_stores.ingest.pieces import divided
from didact_stores.ingest.reading import Reader, chunks
from didact_stores.store import Store, rejected_files
from didact_text import TextFiles

ARTICLES = "".join(f"= Article {i} =\n\nIt has {i} words,\r\n and a sécond line.\n \n" for i in range(300)).encode()


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(pieces, "PACKED_BYTES", 100)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 500)
    monkeypatch.setattr(ingestion, "COMMIT_SECONDS", 0.0)


def whole(data, name, **options):
    try:
        return [(r.data, r.length, r.name) for r in TextFiles().records(data, name, options) if not r.fault]
    except DataError:
        return []


def stored(folder):
    store = Store.open(str(folder))
    return [(one.data, one.length, one.name) for one in (store.get(i) for i in range(len(store)))]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "é b", "\n", "\n\n", "\r\n", "\r", " ", "\t", "\x0b", "\x1c", "\xa0", "\ufeff"])),
    st.sampled_from(["blank", "line", "file"]),
    st.integers(1, 9),
    st.booleans(),
)
@example(["\ufeff", "a", "\n\n", "\ufeff", "é b"], "blank", 1, False)
def test_pieces_give_the_records_of_the_whole(parts, split, piece_bytes, packed):
    data = "".join(parts).encode()
    found, files = in_pieces(data, "a.txt", piece_bytes, packed, split=split)
    assert [one for done in found for one in done] == whole(data, "a.txt", split=split)
    if split == "file":
        assert len(files) == 1
    else:
        assert sum(one.size for one in files) == len(data)


LINES = ['{"text": "a"}', '{"text": "é\\nb"}', '{"text": ""}', '{"txt": 1}', "\n", "\n\n", "\r\n", "\r", " ", "\ufeff"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(LINES)), st.integers(1, 40), st.booleans())
def test_pieces_of_a_jsonl_give_the_records_of_the_whole(parts, piece_bytes, packed):
    data = "".join(parts).encode()
    found, _ = in_pieces(data, "a.jsonl", piece_bytes, packed)
    assert [one for done in found for one in done] == whole(data, "a.jsonl")


def in_pieces(data, name, piece_bytes, packed, **options):
    """What each piece of a file gives, and the pieces."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "WHOLE_BYTES", 0)
        patch.setattr(pieces, "PACKED_BYTES", 0)
        patch.setattr(pieces, "PIECE_BYTES", piece_bytes)
        file = Path(folder) / (name + (".gz" if packed else ""))
        file.write_bytes(gzip.compress(data) if packed else data)
        labels = Labels(options=options)
        files = list(divided(find([str(file)], TextFiles.suffixes).files, TextFiles, labels))
        done = [one for chunk in chunks(files) for one in Reader(medium=TextFiles, labels=labels).read(chunk)]
    return [[(r.data, r.length, r.name.replace(str(file), name)) for r in one.records] for one in done], files


def test_a_cut_comes_after_a_line_or_after_a_blank_one():
    window = b"one\ntwo\n \r\nthree\nfo"
    for name in ("a.txt", "a.txt.gz"):
        assert TextFiles().cut(window, name, {"split": "line"}) == len(window) - len(b"fo")
        assert TextFiles().cut(window, name, {}) == len(b"one\ntwo\n \r\n")
        assert TextFiles().cut(b"one\ntwo\n", name, {}) == 0
        assert TextFiles().cut(b"", name, {}) == 0
    for name in ("a.jsonl", "a.jsonl.gz"):
        assert TextFiles().cut(window, name, {}) == len(window) - len(b"fo")


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_store_is_the_same_whether_its_files_are_cut_or_not(tmp_path, monkeypatch, num_workers):
    (tmp_path / "in").mkdir()
    objects = b'{"text": "some\\n\\ntext"}\nno object\n' * 200
    files = {"1.txt": b"before", "2.txt": ARTICLES, "3.tsv": b"x\ty\n" * 500, "4.jsonl": objects}
    packed = {f"{name}.gz": gzip.compress(data) for name, data in files.items()}
    for name, data in (files | packed | {"5.txt": b"after"}).items():
        (tmp_path / "in" / name).write_bytes(data)
    uncut = ingest("text", [str(tmp_path / "in")], tmp_path / "uncut").manifest
    monkeypatch.setattr(pieces, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(pieces, "PACKED_BYTES", 50)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 500)
    cut = ingest("text", [str(tmp_path / "in")], tmp_path / "cut", num_workers=num_workers).manifest
    assert cut == uncut
    assert (cut.files, cut.rejected) == (9, 400)
    assert list(rejected_files(tmp_path / "cut")) == list(rejected_files(tmp_path / "uncut"))
    assert stored(tmp_path / "cut") == stored(tmp_path / "uncut")


@pytest.mark.parametrize("name", ["big.txt", "big.txt.gz"])
def test_an_ingestion_goes_on_inside_a_large_file(tmp_path, small_pieces, monkeypatch, name):
    file = tmp_path / name
    file.write_bytes(gzip.compress(ARTICLES) if name.endswith(".gz") else ARTICLES)
    seen = []

    def stop(progress):
        seen.append(progress)
        if progress.begun > 5000 and not any(one.begun > 5000 for one in seen[:-1]):
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = ingest("text", [str(file)], tmp_path / "s", num_workers=0, watch=stop)
    assert stopped.manifest is None
    assert stopped.progress.files == 0
    assert 5000 < stopped.progress.begun < len(ARTICLES)
    monkeypatch.setattr(pieces, "WHOLE_BYTES", 1 << 30)  # a release that cuts otherwise goes on as well
    monkeypatch.setattr(pieces, "PIECE_BYTES", 700)
    seen.clear()
    again = ingest("text", [str(file)], tmp_path / "s", num_workers=0, watch=seen.append)
    assert seen[0] == stopped.progress
    assert (again.progress.files, again.progress.begun, again.manifest.files) == (1, 0, 1)
    assert stored(tmp_path / "s") == whole(file.read_bytes(), str(file))


def test_a_piece_that_is_not_utf8_is_left_out_and_listed(tmp_path, small_pieces):
    file = tmp_path / "big.txt"
    place = ARTICLES.index(b"= Article 100 =")
    file.write_bytes(ARTICLES[:place] + b"\xff" + ARTICLES[place + 1 :])
    ingest("text", [str(file)], tmp_path / "s")
    ((name, reason),) = rejected_files(tmp_path / "s")
    assert name == str(file)
    assert f"byte 0xff at offset {place}" in reason
    assert "bytes " in reason
    assert "are left out" in reason
    kept, everything = stored(tmp_path / "s"), whole(ARTICLES, str(file))
    assert 580 <= len(kept) < len(everything) == 600
    assert set(kept) < set(everything)


def test_what_is_wrong_with_a_whole_file_is_said_once(tmp_path, small_pieces):
    (tmp_path / "in").mkdir()
    for name in ("big.txt", "7.txt", "gone.txt"):
        (tmp_path / "in" / name).write_bytes(ARTICLES)
    labels = Labels(pattern=r"(?P<label>\d|gone)")
    found = find([str(tmp_path / "in")], (".txt",)).files
    (tmp_path / "in" / "gone.txt").unlink()
    files = list(divided(found, TextFiles, labels))
    assert [file.inside for file in files if file.failure] == ["big.txt", "gone.txt"]
    assert [file.failure[:14] for file in files if file.failure] == ["the pattern '(", "cannot be read"]


def test_a_packed_file_that_breaks_off_is_kept_up_to_there_and_listed(tmp_path, small_pieces):
    file = tmp_path / "big.txt.gz"
    file.write_bytes(gzip.compress(ARTICLES)[:-200])
    ingest("text", [str(file)], tmp_path / "s")
    kept = stored(tmp_path / "s")
    assert 100 < len(kept) < 600
    assert kept == whole(gzip.compress(ARTICLES), str(file))[: len(kept)]
    ((name, reason),) = rejected_files(tmp_path / "s")
    assert name == str(file)
    assert "Compressed file ended" in reason
    assert re.search(r"the rest after its first [\d,]+ bytes is left out", reason)


def test_a_large_packed_file_never_lies_in_memory_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(ingestion, "COMMIT_BYTES", 1 << 20)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1 << 18)
    monkeypatch.setattr(pieces, "PACKED_BYTES", 1 << 10)
    file = tmp_path / "big.jsonl.gz"
    with gzip.open(file, "wb", 1) as stream:
        for number in range(16_000):
            stream.write(b'{"text": "%d %s"}\n' % (number, b"word " * 400))  # 32 MB in all
    tracemalloc.start()
    try:
        assert ingest("text", [str(file)], tmp_path / "s", num_workers=0).manifest.count == 16_000
        assert tracemalloc.get_traced_memory()[1] < 12e6
    finally:
        tracemalloc.stop()


def test_a_record_that_is_larger_than_a_piece_stays_whole(tmp_path, small_pieces):
    file = tmp_path / "big.txt"
    data = b"short\n\n" + b"a line\n" * 1000 + b"\nshort again\n"
    file.write_bytes(data)
    cut = list(divided(find([str(file)], (".txt",)).files, TextFiles, Labels()))
    assert [one.piece.begin for one in cut] == [Place(), Place(offset=7, line=3)]
    ingest("text", [str(file)], tmp_path / "s")
    assert stored(tmp_path / "s") == whole(data, str(file))
