"""Ingestion from a manifest: its order and fields are kept, and errors name its line."""

from __future__ import annotations

import io
import os
import signal
import wave
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from didact import DataError, SpecError
from didact_stores.cli.ingest import ingest_command
from didact_stores.ingest import Ingested, Labels, Progress, ingest, ingestion, pieces, reading
from didact_stores.ingest.manifest import listed
from didact_stores.store import Store, rejected_files


@pytest.fixture
def small_steps(monkeypatch):
    """Commits after every two files, so that there is much to interrupt."""
    monkeypatch.setattr(reading, "CHUNK_FILES", 2)
    monkeypatch.setattr(ingestion, "COMMIT_SECONDS", 0.0)


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def sound(number: int) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(8000)
        stream.writeframes((1000 * np.sin(np.arange(800 + number))).astype("<i2").tobytes())
    return data.getvalue()


def image(number: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray((np.arange(16 * 16 * 3) + number).astype(np.uint8).reshape(16, 16, 3)).save(data, "PNG")
    return data.getvalue()


def text(number: int) -> bytes:
    return f"Text {number}".encode()


MAKERS = {"audio": (".wav", sound), "images": (".png", image), "text": (".txt", text)}


def many(folder: Path, count: int = 20) -> Path:
    """Texts in an order of their own, of which every seventh is absent; and their list."""
    rows = [f"text/{i:03d}.txt\tspeaker {i % 3}\t{'train' if i % 2 else ''}" for i in reversed(range(count))]
    write(folder, {f"text/{i:03d}.txt": text(i) for i in range(count) if i % 7 != 3})
    write(folder, {"list.tsv": "path\tspeaker\tsplit\n" + "\n".join(rows) + "\n"})
    return folder / "list.tsv"


def contents(store: Path) -> list[tuple[bytes, str, dict[str, str]]]:
    opened = Store.open(str(store))
    read = [opened.get(i) for i in range(len(opened))]
    return [(one.data, one.name, dict(one.fields)) for one in read]


def command(*words: object):
    return CliRunner().invoke(ingest_command, [str(word) for word in words])


# ── What goes in ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_a_list_gives_its_files_in_its_order_with_its_columns_as_fields(tmp_path, kind, suffix):
    end, maker = MAKERS[kind]
    files = {f"data/{i}{end}": maker(i) for i in range(4)}
    write(tmp_path, files | {"elsewhere/9" + end: maker(9)})
    between = "\t" if suffix == ".tsv" else ","
    rows = [
        ["label", "path", "speaker"],
        ["two", f"data/2{end}", "ann"],
        ["", f"{tmp_path}/elsewhere/9{end}", "theo"],
        ["one", f"lists/../data/1{end}", ""],
    ]
    write(tmp_path, {"lists/.keep": "", f"all{suffix}": "\r\n".join(between.join(row) for row in rows) + "\r\n"})
    made = command(kind, "--manifest", tmp_path / f"all{suffix}", "--out", tmp_path / "s")
    assert made.exit_code == 0, made.output
    assert "fields: label, speaker" in made.output
    assert [(data, fields) for data, _, fields in contents(tmp_path / "s")] == [
        (maker(2), {"label": "two", "speaker": "ann"}),
        (maker(9), {"speaker": "theo"}),
        (maker(1), {"label": "one"}),
    ]
    codes, classes = Store.open(str(tmp_path / "s")).column("label")
    assert (codes.tolist(), classes) == ([1, -1, 0], ("one", "two"))


def test_paths_are_relative_to_the_manifest_and_not_to_the_current_folder(tmp_path, monkeypatch):
    write(
        tmp_path, {"lists/a.txt": "beside the list", "a.txt": "in the current folder", "lists/l.csv": "path\na.txt\n"}
    )
    monkeypatch.chdir(tmp_path)
    ingest("text", [], "s", manifest="lists/l.csv")
    assert contents(tmp_path / "s") == [(b"beside the list", "lists/a.txt:1", {})]


@pytest.mark.parametrize("folder", ["{}/corpus", "../corpus"])
def test_fairseqs_manifest_is_read_as_such(tmp_path, folder):
    write(tmp_path, {f"corpus/a/{i}.wav": sound(i) for i in range(3)})
    lines = [folder.format(tmp_path), "a/2.wav\t802", "a/0.wav\t800", "gone.wav\t16000"]
    write(tmp_path, {"lists/train.tsv": "\n".join(lines) + "\n"})
    made = command("audio", "--manifest", tmp_path / "lists/train.tsv", "--out", tmp_path / "s")
    assert made.exit_code == 0, made.output
    assert "2 records of audio" in made.output
    assert [(data, fields) for data, _, fields in contents(tmp_path / "s")] == [(sound(2), {}), (sound(0), {})]
    ((name, reason),) = rejected_files(tmp_path / "s")
    assert os.path.normpath(name) == str(tmp_path / "corpus/gone.wav")
    assert reason == "cannot be read: No such file or directory"


def test_what_is_listed_and_cannot_be_read_is_rejected_with_its_reason(tmp_path):
    write(tmp_path, {"good.txt": "good", "latin.txt": b"Gr\xfc\xdfe", "notes.md": "other", "folder.txt/inside": ""})
    names = ["gone.txt", "latin.txt", "notes.md", "good.txt", "folder.txt"]
    write(tmp_path, {"list.csv": "path,label\n" + "".join(f"{name},x\n" for name in names)})
    made = command("text", "--manifest", tmp_path / "list.csv", "--out", tmp_path / "s")
    assert made.exit_code == 0, made.output
    assert "4 files could not be read" in made.output
    assert [fields for _, _, fields in contents(tmp_path / "s")] == [{"label": "x"}]
    reasons = {Path(name).name: reason for name, reason in rejected_files(tmp_path / "s")}
    assert list(reasons) == ["gone.txt", "latin.txt", "notes.md", "folder.txt"]  # in the order of the list
    assert reasons["gone.txt"] == "cannot be read: No such file or directory"
    assert "it is not UTF-8" in reasons["latin.txt"]
    assert reasons["notes.md"] == "its name ends in none of .txt .tsv .csv .jsonl .txt.gz .tsv.gz .csv.gz .jsonl.gz"
    assert reasons["folder.txt"] == "cannot be read: Is a directory"


def test_cells_of_a_csv_may_be_quoted_and_blank_lines_are_skipped(tmp_path):
    write(tmp_path, {"a, b.txt": "one", "c.txt": "two"})
    listing = '\ufeff path ,label\n\n"a, b.txt","said ""so"",\nindeed"\n\nc.txt, plain \n\n'
    write(tmp_path, {"list.csv": listing})
    ingest("text", [], tmp_path / "s", manifest=tmp_path / "list.csv")
    assert [(data, fields["label"]) for data, _, fields in contents(tmp_path / "s")] == [
        (b"one", 'said "so",\nindeed'),
        (b"two", "plain"),
    ]
    write(tmp_path, {"quotes.tsv": 'path\tlabel\na, b.txt\t"so\n'})
    ingest("text", [], tmp_path / "t", manifest=tmp_path / "quotes.tsv")
    assert contents(tmp_path / "t")[0][2] == {"label": '"so'}  # in a .tsv a quote is a character like any other


def test_the_list_wins_over_what_the_medium_knows(tmp_path):
    write(tmp_path, {"table.tsv": "good\t5\nbad\t1\n", "list.csv": "path,label,split\ntable.tsv,given,train\n"})
    labels = Labels(options={"text": "1", "label": "2"})
    ingest("text", [], tmp_path / "s", labels=labels, manifest=tmp_path / "list.csv")
    assert [(data, fields) for data, _, fields in contents(tmp_path / "s")] == [
        (b"good", {"label": "given", "split": "train"}),
        (b"bad", {"label": "given", "split": "train"}),
    ]


def test_every_piece_of_a_large_file_has_its_fields(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "WHOLE_BYTES", 100)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 50)
    write(tmp_path, {"a.txt": "".join(f"Text {i}\n\n" for i in range(100)), "list.csv": "path,book\na.txt,first\n"})
    ingest("text", [], tmp_path / "s", manifest=tmp_path / "list.csv")
    assert [fields for _, _, fields in contents(tmp_path / "s")] == [{"book": "first"}] * 100


# ── Mistakes in a list ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "listing", "said"),
    [
        ("l.tsv", "path\tlabel\na.txt\tx\nb.txt\n", "line 3 has another number of cells (1) than the header (2)"),
        (
            "l.csv",
            'path,label\n"a.txt","x\ny"\nb.txt,x,y\n',
            "line 4 has another number of cells (3) than the header (2)",
        ),
        ("l.csv", 'path,label\na.txt,x\nb.txt,"y\n', "the row at line 3 is not valid CSV"),
        ("l.csv", "path,label\na.txt,x\nb.txt,y\n./a.txt,z\n", "lines 2 and 4 list the same file, ./a.txt"),
        ("l.tsv", "path\na.txt\n{}/a.txt\n", "lines 2 and 3 list the same file"),
        ("l.tsv", "{}\na.txt\t7\nb.txt\t7\na.txt\t7\n", "lines 2 and 4 list the same file, a.txt"),
        ("l.tsv", "{}\na.txt\t7\nb.txt\n", "line 3 should be a path, a tab and a number of samples: b.txt"),
        ("l.tsv", "{}\na.txt\tcat\n", "line 2 should be a path, a tab and a number of samples: a.txt cat"),
        ("l.tsv", "file\na.txt\n", "line 1 is neither the header of a table nor a folder that exists: file"),
        ("l.tsv", "file\tlabel\na.txt\tx\n", "the manifest has no column 'path'"),
        ("l.csv", "paths;label\na.txt;x\n", "the manifest has no column 'path'"),
        ("l.csv", ",path\n0,a.txt\n", "column 1 has no name"),
        ("l.csv", "path,label,label\na.txt,x,y\n", "two columns are called 'label'"),
        ("l.csv", "path,label\n,x\n", "line 2 names no file"),
        ("l.csv", "path,label\na\0.txt,x\n", "line 2 names no file"),
        ("l.csv", "path,label\n\n", "the manifest lists no file"),
        ("l.csv", "\n", "the manifest is empty"),
        ("l.csv", b"path,label\na.txt,Gr\xfc\xdfe\n", "line 2 of the manifest is not UTF-8: byte 0xfc at offset 19"),
        ("l.txt", "path\na.txt\n", "a manifest is a .tsv or a .csv, not 'l.txt'"),
    ],
)
def test_a_mistake_in_a_list_ends_the_ingestion_and_says_in_which_line(tmp_path, name, listing, said):
    write(tmp_path, {"a.txt": "one", "b.txt": "two"})
    write(tmp_path, {name: listing if isinstance(listing, bytes) else listing.replace("{}", str(tmp_path))})
    error = command("text", "--manifest", tmp_path / name, "--out", tmp_path / "s").exception
    assert isinstance(error, DataError)
    assert said in error.what
    assert name in error.where
    assert error.hint
    assert not (tmp_path / "s").exists()


def test_a_list_that_is_absent_is_told_so(tmp_path):
    with pytest.raises(DataError, match="the manifest cannot be read: No such file"):
        ingest("text", [], tmp_path / "s", manifest=tmp_path / "list.tsv")


def test_a_list_of_which_nothing_can_be_read_is_an_error_that_shows_the_first_reason(tmp_path):
    write(tmp_path, {"list.csv": "path\ngone.txt\nlost.txt\n"})
    with pytest.raises(DataError, match="none of 2 files") as raised:
        ingest("text", [], tmp_path / "s", manifest=tmp_path / "list.csv")
    assert "gone.txt: cannot be read: No such file" in raised.value.hint
    write(tmp_path, {"gone.txt": "found"})
    assert ingest("text", [], tmp_path / "s", manifest=tmp_path / "list.csv").progress.rejected == 1


def test_a_list_is_given_alone(tmp_path):
    manifest = many(tmp_path)
    arguments = ["text", "--manifest", manifest, "--out", tmp_path / "s"]
    for more, name in (
        ([tmp_path / "text"], "PATHS"),
        (["--label-from", "folder"], "--label-from"),
        (["--label-from", "none"], "--label-from"),
        (["--pattern", r"(?P<label>\d)"], "--pattern"),
        ([tmp_path, "--pattern", r"(?P<label>\d)"], "PATHS and --pattern"),
    ):
        error = command(*arguments, *more).exception
        assert isinstance(error, SpecError)
        assert error.hint == f"leave out {name}, or leave out --manifest"
    neither = command("text", "--out", tmp_path / "s")
    assert neither.exit_code == 2
    assert "Missing argument 'PATHS...'" in neither.output
    assert not (tmp_path / "s").exists()


# ── Again, after an interruption, and by several ──────────────────────────────────────────────────────────────────────


def stopped_at(files: int, manifest: Path, out: Path) -> Ingested:
    """Asks an ingestion to stop once so many files are in."""
    asked: list[Progress] = []

    def watch(progress: Progress) -> None:
        if progress.files >= files and not asked:
            asked.append(progress)
            os.kill(os.getpid(), signal.SIGINT)

    return ingest("text", [], out, manifest=manifest, num_workers=0, watch=watch)


def test_an_interrupted_list_goes_on_where_it_was(tmp_path, small_steps, monkeypatch):
    manifest = many(tmp_path)
    whole = ingest("text", [], tmp_path / "whole", manifest=manifest).manifest
    stopped = stopped_at(8, manifest, tmp_path / "s")
    assert stopped.manifest is None
    assert 8 <= stopped.progress.files < 20
    assert stopped.progress.total == 20
    seen: list[str] = []
    read = reading.Reader.read
    monkeypatch.setattr(
        reading.Reader, "read", lambda self, chunk: seen.extend(file.name for file in chunk.files) or read(self, chunk)
    )
    again = command("text", "--manifest", manifest, "--out", tmp_path / "s", "--num-workers", 0)
    assert again.exit_code == 0, again.output
    assert len(seen) == 20 - stopped.progress.files  # nothing is read twice
    assert Store.open(str(tmp_path / "s")).manifest == whole
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")
    assert list(rejected_files(tmp_path / "s")) == list(rejected_files(tmp_path / "whole"))
    assert "already complete" in command("text", "--manifest", manifest, "--out", tmp_path / "s").output


def test_another_list_or_other_files_never_mix_into_a_store(tmp_path, small_steps):
    manifest = many(tmp_path)
    ingest("text", [], tmp_path / "complete", manifest=manifest)
    stopped_at(8, manifest, tmp_path / "half")
    manifest.write_text(manifest.read_text().replace("speaker 1", "speaker 7"))
    for store in ("complete", "half"):
        with pytest.raises(DataError, match="the manifest differs") as raised:
            ingest("text", [], tmp_path / store, manifest=manifest)
        assert "the files differ" not in raised.value.what
        assert "--restart" in raised.value.hint
        again = command("text", "--manifest", manifest, "--out", tmp_path / store, "--restart")
        assert again.exit_code == 0, again.output
        assert {fields["speaker"] for _, _, fields in contents(tmp_path / store)} >= {"speaker 7"}
    write(tmp_path, {"text/000.txt": "changed since"})
    with pytest.raises(DataError, match="the files differ in name, size or time of change"):
        ingest("text", [], tmp_path / "half", manifest=manifest)
    with pytest.raises(DataError, match="the manifest differs"):
        ingest("text", [str(tmp_path / "text")], tmp_path / "half")


@pytest.mark.slow
def test_workers_change_nothing(tmp_path, small_steps):
    manifest = many(tmp_path, 40)
    here = ingest("text", [], tmp_path / "here", manifest=manifest, num_workers=0).manifest
    there = command("text", "--manifest", manifest, "--out", tmp_path / "there", "--num-workers", 2)
    assert there.exit_code == 0, there.output
    assert here is not None
    assert (here.count, here.rejected, here.fields) == (34, 6, ("speaker", "split"))
    assert Store.open(str(tmp_path / "there")).manifest == here
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert list(rejected_files(tmp_path / "here")) == list(rejected_files(tmp_path / "there"))


def test_each_file_of_a_list_is_looked_at_once_and_takes_its_own_cells_along(tmp_path, monkeypatch):
    manifest = many(tmp_path)
    looked: list[str] = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: looked.append(str(path)) or stat(path, **how))
    files = listed(str(manifest), (".txt",)).files
    monkeypatch.undo()
    assert sorted(path for path in looked if path.endswith(".txt")) == [
        f"{tmp_path}/text/{i:03d}.txt" for i in range(20)
    ]
    assert files[1].listed == {"speaker": "speaker 0"}
    assert files[0].listed == {"speaker": "speaker 1", "split": "train"}
    assert all(file.columns is files[0].columns for file in files)  # a chunk sends the names once
