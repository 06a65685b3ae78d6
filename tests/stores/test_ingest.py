"""Ingestion: every file is ingested once and in order, also after a kill, and errors are clear."""

from __future__ import annotations

import importlib
import io
import math
import os
import re
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import DataError, DidactError, SpecError
from didact.machine.processes import StopRequest
from didact.plugins import Plugin, Registry
from didact_stores import Record, StoredSamples
from didact_stores.cli.ingest import ingest_command
from didact_stores.cli.inspect import inspect_command
from didact_stores.ingest import Ingested, Labels, Progress, StoreWriter, ingest, ingestion, reading, workers, writing
from didact_stores.ingest.files import find
from didact_stores.ingest.writing import Done, digest
from didact_stores.store import Store, rejected_files

# also written to a file, from which worker processes import it: a test module is not importable there
MEDIUM = '''
import os
import signal
import struct
import sys
from pathlib import Path

from didact import DataError
from didact_stores import Medium, Record

class Notes(Medium):
    """Texts of which some are broken."""

    kind = "notes"
    unit = "characters"
    suffixes = (".note",)
    options = {"split": (), "label": (), "case": ("lower", "upper")}

    def records(self, data, name, options):
        text = data.decode()
        if text.startswith("bad"):
            raise DataError("it is a bad note", where=name)
        if text.startswith("strange"):
            raise ZeroDivisionError("odd")
        if text.startswith("crash"):
            os._exit(3)
        if text.startswith("killed"):
            die_while_sending(text.split()[1])
        if text.startswith("nan"):
            return [Record(data=data, length=float("nan"), name=name)]
        parts = text.split(options["split"]) if "split" in options else [text]
        fields = {"label": options["label"]} if "label" in options else {}
        return [
            Record(
                data=part.encode(),
                length=len(part),
                name=f"{name}:{line}" if len(parts) > 1 else name,
                fields=fields,
                suspect=text.removeprefix("suspect ").split()[0] if text.startswith("suspect") else "",
                fault="it is a bad part" if part.startswith("wrong") else "",
            )
            for line, part in enumerate(parts, 1)
        ]

def die_while_sending(once):
    """Leaves the pool with the beginning of a result, as a process does that is killed while it sends one."""
    if Path(once).exists():
        return
    Path(once).touch()
    frame = sys._getframe()
    while "result_queue" not in frame.f_locals:
        frame = frame.f_back
    results = frame.f_locals["result_queue"]
    results._wlock.acquire()
    os.write(results._writer.fileno(), struct.pack("!i", 1000) + b"the first of 1000 bytes")
    os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture(scope="module", autouse=True)
def notes(tmp_path_factory):
    """A medium of our own, so that the core is tested without any modality."""
    folder = tmp_path_factory.mktemp("medium")
    (folder / "notes_medium_of_the_tests.py").write_text(MEDIUM)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        medium = importlib.import_module("notes_medium_of_the_tests").Notes
        plugin = Plugin(
            name="notes",
            distribution="notes",
            version="1",
            module="notes",
            components={"didact_components": {"notes": medium}},
        )
        installed = Registry(plugins=(plugin,))
        patch.setattr(ingestion, "registry", lambda: installed)
        yield medium


@pytest.fixture
def small_steps(monkeypatch):
    """Commits after every two files, so that there is much to interrupt."""
    monkeypatch.setattr(reading, "CHUNK_FILES", 2)
    monkeypatch.setattr(ingestion, "COMMIT_SECONDS", 0.0)


def write(folder: Path, notes: Mapping[str, str | bytes]) -> Path:
    for name, text in notes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def pack(path: Path, notes: Mapping[str, str], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, text in notes.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


def many(count: int = 20) -> dict[str, str]:
    return {
        f"{'ab'[i % 2]}/{i:03d}.note": ("bad " if i % 7 == 3 else "") + f"note {i} " + "x" * i for i in range(count)
    }


def contents(store: Path) -> list[tuple[bytes, str, dict[str, str]]]:
    opened = Store.open(str(store))
    read = [opened.get(i) for i in range(len(opened))]
    return [(one.data, one.name, dict(one.fields)) for one in read]


def in_a_child(action: Callable[[], None]) -> int:
    """Runs ``action`` in a fork, and gives its exit code: negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except DidactError:
            os._exit(42)
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# ── What goes in ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_is_read_through_in_the_order_of_its_names(tmp_path):
    folder = write(
        tmp_path / "in", {"b/2.note": "two", "b/1.note": "one", "a.note": "zero", "b/x.jpg": "", ".h.note": "h"}
    )
    result = ingest("notes", [str(folder)], tmp_path / "s")
    assert [data for data, _, _ in contents(tmp_path / "s")] == [b"zero", b"one", b"two"]
    assert [name for _, name, _ in contents(tmp_path / "s")][1] == str(folder / "b/1.note")
    assert result.skipped == 2
    assert result.manifest is not None
    assert (result.manifest.files, result.manifest.count, result.manifest.rejected) == (3, 3, 0)
    assert result.manifest.total_length == len("zeroonetwo")


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.xz", "w:xz")]
)
def test_a_tar_gives_what_its_folder_gives(tmp_path, suffix, mode):
    notes = many()
    folder, tar = write(tmp_path / "in", notes), pack(tmp_path / f"in{suffix}", notes, mode)
    for source, store in ((folder, "from-folder"), (tar, "from-tar")):
        ingest("notes", [str(source)], tmp_path / store, labels=Labels(label_from="folder"))
    by_place = {name[len(str(folder)) :]: data for data, name, _ in contents(tmp_path / "from-folder")}
    assert {name[len(str(tar)) :]: data for data, name, _ in contents(tmp_path / "from-tar")} == by_place
    assert len(by_place) == 17
    assert {fields["label"] for _, _, fields in contents(tmp_path / "from-tar")} == {"a", "b"}


def test_tars_in_a_folder_are_read_too(tmp_path):
    write(tmp_path / "in", {"z.note": "last"})
    pack(tmp_path / "in" / "shard.tar", {"k/1.note": "packed"})
    ingest("notes", [str(tmp_path / "in")], tmp_path / "s")
    assert [data for data, _, _ in contents(tmp_path / "s")] == [b"packed", b"last"]


def test_folders_linked_in_a_circle_end(tmp_path):
    folder = write(tmp_path / "in", {"a/1.note": "one"})
    (folder / "a" / "again").symlink_to(folder)
    assert [file.inside for file in find([str(folder)], (".note",)).files] == ["a/1.note"]


def test_names_that_are_no_unicode_are_no_obstacle(tmp_path):
    folder = write(tmp_path / "in", {"fine.note": "fine"})
    with open(os.fsencode(folder) + b"/caf\xe9.note", "wb") as stream:
        stream.write(b"coffee")
    ingest("notes", [str(folder)], tmp_path / "s", labels=Labels(pattern=r"(?P<stem>[^/]+)\.note"))
    assert [(data, fields["stem"]) for data, _, fields in contents(tmp_path / "s")] == [
        (b"coffee", "caf\N{REPLACEMENT CHARACTER}"),
        (b"fine", "fine"),
    ]


def test_a_pattern_gives_fields_and_rejects_what_it_does_not_fit(tmp_path):
    write(tmp_path / "in", {"7_theo_1.note": "a", "3_ann_2.note": "b", "readme.note": "c"})
    labels = Labels(pattern=r"(?P<label>\d)_(?P<speaker>[a-z]+)_")
    result = ingest("notes", [str(tmp_path / "in")], tmp_path / "s", labels=labels)
    assert [fields for _, _, fields in contents(tmp_path / "s")] == [
        {"label": "3", "speaker": "ann"},
        {"label": "7", "speaker": "theo"},
    ]
    assert result.manifest is not None
    assert result.manifest.rejected == 1
    assert "does not match 'readme.note'" in next(rejected_files(tmp_path / "s"))[1]


def test_labels_come_from_where_it_is_said(tmp_path):
    write(tmp_path / "in" / "cat", {"1.note": "a"})
    one = str(tmp_path / "in" / "cat" / "1.note")

    def label(name: str, **how) -> str | None:
        ingest("notes", [one], tmp_path / name, labels=Labels(**how))
        return contents(tmp_path / name)[0][2].get("label")

    assert label("default") is None
    assert label("folder", label_from="folder") == "cat"
    assert label("pattern", label_from="pattern", pattern=r"(?P<label>\d)") == "1"
    assert label("column", label_from="column", options={"label": "given"}) == "given"
    assert label("named", options={"label": "given"}) == "given"
    assert label("none", label_from="none", pattern=r"(?P<label>\d)", options={"label": "given"}) is None


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"pattern": "(?P<label>"}, "not a regular expression"),
        ({"pattern": r"\d+"}, "no named group"),
        ({"label_from": "pattern", "pattern": r"(?P<speaker>\w)"}, "needs a group called label"),
        ({"label_from": "column"}, "--option label=COLUMN"),
        ({"label_from": "folder", "pattern": r"(?P<label>\w)"}, "from a folder and from the pattern"),
    ],
)
def test_contradicting_labels_are_refused(how, said):
    with pytest.raises(SpecError) as raised:
        Labels(**how)
    assert said in str(raised.value)


# ── What cannot be read ───────────────────────────────────────────────────────────────────────────────────────────────


def test_unreadable_files_are_listed_with_their_reasons_and_skipped(tmp_path):
    folder = write(
        tmp_path / "in",
        {
            "1.note": "fine",
            "2.note": "bad\tnote",
            "3.note": b"\xff\xfe",
            "4.note": "strange",
            "5.note": "nan",
            "6.note": "ok",
        },
    )
    (folder / "7.note").symlink_to(folder / "nowhere")
    pack(folder / "8.tar", {"inner.note": "packed", "cut.note": "y" * 5000})
    (folder / "8.tar").write_bytes((folder / "8.tar").read_bytes()[:4000])
    result = ingest("notes", [str(folder)], tmp_path / "s")
    assert [data for data, _, _ in contents(tmp_path / "s")] == [b"fine", b"ok", b"packed"]
    reasons = {Path(name).name: reason for name, reason in rejected_files(tmp_path / "s")}
    assert reasons["2.note"] == "it is a bad note"
    assert "UnicodeDecodeError" in reasons["3.note"]
    assert reasons["4.note"] == "ZeroDivisionError: odd"
    assert reasons["5.note"] == "its length is nan characters"
    assert "No such file" in reasons["7.note"]
    assert "the tar ends within it" in reasons["cut.note"]
    assert result.manifest is not None
    assert result.manifest.rejected == len(list(rejected_files(tmp_path / "s")))


def test_nothing_readable_is_an_error_that_shows_the_first_reason(tmp_path):
    folder = write(tmp_path / "in", {"1.note": "bad", "2.note": "bad"})
    with pytest.raises(DataError, match="none of 2 files") as raised:
        ingest("notes", [str(folder)], tmp_path / "s")
    assert "it is a bad note" in raised.value.hint
    write(folder, {"1.note": "repaired now"})
    assert ingest("notes", [str(folder)], tmp_path / "s").manifest is not None  # with no --restart: nothing was lost


def test_missing_empty_and_other_files_are_told_apart(tmp_path):
    (tmp_path / "empty").mkdir()
    other = write(tmp_path / "other", {"a.jpg": "", "b.jpg": "", "c.txt": ""})
    with pytest.raises(DataError, match="no file or folder"):
        ingest("notes", [str(tmp_path / "missing")], tmp_path / "s")
    with pytest.raises(DataError, match="it is empty"):
        ingest("notes", [str(tmp_path / "empty")], tmp_path / "s")
    with pytest.raises(DataError, match=r"2 × \.jpg, 1 × \.txt") as raised:
        ingest("notes", [str(other)], tmp_path / "s")
    assert ".note" in raised.value.hint
    with pytest.raises(SpecError, match="no installed plugin reads files of kind 'nots'") as unknown:
        ingest("nots", [str(other)], tmp_path / "s")
    assert "did you mean notes?" in unknown.value.hint
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        ({"spilt": "x"}, "has no option 'spilt', only case, label, split", "did you mean split?"),
        ({"unknown": "x"}, "has no option 'unknown', only case", "known: case, label, split"),
        ({"case": "uper"}, "case must be one of lower, upper, got 'uper'", "did you mean upper?"),
    ],
)
def test_a_wrong_option_is_refused_before_any_file_is_listed(tmp_path, monkeypatch, options, said, hint):
    folder = write(tmp_path / "in", many())
    whole = ingest("notes", [str(folder)], tmp_path / "before").manifest
    monkeypatch.setattr(ingestion, "find", lambda *given: pytest.fail("files were listed"))
    monkeypatch.setattr(ingestion, "listed", lambda *given: pytest.fail("the manifest was read"))
    for out, how in (
        (tmp_path / "s", {}),
        (tmp_path / "before", {"restart": True}),
        (tmp_path / "s", {"manifest": "x"}),
    ):
        with pytest.raises(SpecError, match=said) as raised:
            ingest("notes", [str(folder)], out, labels=Labels(options=options), **how)
        assert raised.value.hint == hint
        assert raised.value.where.startswith("--option ")
    assert not (tmp_path / "s").exists()
    assert Store.open(str(tmp_path / "before")).manifest == whole  # --restart threw nothing away


def test_a_medium_without_options_says_so(notes, monkeypatch):
    monkeypatch.delattr(notes, "options")
    with pytest.raises(SpecError, match="has no option 'split'; it has none") as raised:
        notes().check_options({"split": "x"})
    assert raised.value.hint == "leave out --option"


def test_a_part_that_cannot_be_taken_is_listed_and_the_rest_of_its_file_kept(tmp_path):
    folder = write(tmp_path / "in", {"1.note": "a|wrong b|c|wrong d", "2.note": "bad", "3.note": "e"})
    arguments = ["notes", str(folder), "--out", str(tmp_path / "s"), "--option", "split=|"]
    said = CliRunner().invoke(ingest_command, arguments).output
    assert [data for data, _, _ in contents(tmp_path / "s")] == [b"a", b"c", b"e"]
    assert list(rejected_files(tmp_path / "s")) == [
        (f"{folder}/1.note:2", "it is a bad part"),
        (f"{folder}/1.note:4", "it is a bad part"),
        (f"{folder}/2.note", "it is a bad note"),
    ]
    assert "1 file and 2 rows could not be read" in said


def test_a_store_of_records_at_hand_takes_none_with_a_fault(tmp_path):
    good = Record(data=b"x", length=1, name="good", suspect="odd")
    assert writing.write_store(tmp_path / "s", "things", "units", [good]).fields == ("suspect",)
    with pytest.raises(DataError, match="it is wrong"):
        writing.write_store(tmp_path / "t", "things", "units", [attrs.evolve(good, fault="it is wrong")])


# ── What can be read and is hardly meant ──────────────────────────────────────────────────────────────────────────────


SUSPECTS = {f"{i}.note": f"suspect {'odd' if i % 2 else 'even'} {i}" for i in range(7)} | {"fine.note": "fine"}


def test_suspects_are_kept_counted_named_and_can_be_left_out(tmp_path, monkeypatch):
    folder = write(tmp_path / "in", SUSPECTS)
    out = str(tmp_path / "s")
    said = CliRunner().invoke(ingest_command, ["notes", str(folder), "--out", out]).output
    names = ", ".join(f"{folder}/{i}.note" for i in (0, 2, 4))
    assert f"4 of 8 are even: {names}, …\n" in said
    assert f"3 of 8 are odd: {', '.join(f'{folder}/{i}.note' for i in (1, 3, 5))}\n" in said
    (where,) = re.findall('with where="(.*)"', said)
    assert where == "suspect != even and suspect != odd"
    monkeypatch.setattr(StoredSamples, "__abstractmethods__", frozenset())  # what to leave out needs no decoding
    kept = StoredSamples(Store.open(out), where)  # type: ignore[abstract]
    assert [kept.record(i).data for i in range(len(kept))] == [b"fine"]


def test_where_nothing_is_suspect_nothing_is_said(tmp_path):
    folder = write(tmp_path / "in", many(4))
    said = CliRunner().invoke(ingest_command, ["notes", str(folder), "--out", str(tmp_path / "s")]).output
    assert "a source leaves" not in said
    assert Store.open(str(tmp_path / "s")).manifest.fields == ()


def test_suspects_are_told_after_an_interruption_too(tmp_path, small_steps):
    folder = write(tmp_path / "in", SUSPECTS)
    assert stopped_at(4, folder, tmp_path / "s").manifest is None
    said = CliRunner().invoke(ingest_command, ["notes", str(folder), "--out", str(tmp_path / "s")]).output
    assert "4 of 8 are even: " in said
    assert "3 of 8 are odd: " in said


def test_what_the_user_says_of_a_file_is_not_overruled(tmp_path):
    folder = write(tmp_path / "in", SUSPECTS)
    ingest("notes", [str(folder)], tmp_path / "s", labels=Labels(pattern=r"(?P<suspect>\w+)\.note"))
    assert contents(tmp_path / "s")[0][2] == {"suspect": "0"}


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    folder = write(tmp_path / "in", many())
    home = write(tmp_path / "home", {"columns/thesis.txt": "years of work", "thesis.txt": "more"})
    for restart in (False, True):
        with pytest.raises(DataError, match="contains other files"):
            ingest("notes", [str(folder)], home, restart=restart)
    assert sorted(path.name for path in home.rglob("*")) == ["columns", "thesis.txt", "thesis.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        ingest("notes", [str(folder)], tmp_path / "file")


# ── Again, and after an interruption ──────────────────────────────────────────────────────────────────────────────────


def test_a_complete_store_is_left_as_it_is(tmp_path):
    folder = write(tmp_path / "in", many())
    first = ingest("notes", [str(folder)], tmp_path / "s")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*")}
    again = ingest("notes", [str(folder)], tmp_path / "s")
    assert first.fresh
    assert not again.fresh
    assert again.manifest == first.manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*")} == before


def test_another_ingestion_never_mixes_into_a_store(tmp_path, small_steps):
    folder = write(tmp_path / "in", many())
    ingest("notes", [str(folder)], tmp_path / "complete")
    stopped_at(8, folder, tmp_path / "half")
    for store, said in (("complete", "holds a complete store"), ("half", "is half written")):
        with pytest.raises(DataError, match=said) as raised:
            ingest("notes", [str(folder)], tmp_path / store, labels=Labels(label_from="folder"))
        assert "label_from was None" in raised.value.what
        assert "--restart" in raised.value.hint
    write(folder, {"a/000.note": "changed since"})
    for store in ("complete", "half"):
        with pytest.raises(DataError, match="the files differ"):
            ingest("notes", [str(folder)], tmp_path / store)
        ingest("notes", [str(folder)], tmp_path / store, restart=True)
        assert contents(tmp_path / store)[0][0] == b"changed since"


def stopped_at(files: int, folder: Path, out: Path, by: signal.Signals = signal.SIGINT) -> Ingested:
    """Asks an ingestion to stop once so many files are in."""

    asked: list[Progress] = []

    def watch(progress: Progress) -> None:
        if progress.files >= files and not asked:
            asked.append(progress)
            os.kill(os.getpid(), by)

    return ingest("notes", [str(folder)], out, num_workers=0, watch=watch)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_what_the_next_call_goes_on_from(tmp_path, small_steps, monkeypatch, by):
    folder = write(tmp_path / "in", many())
    whole = ingest("notes", [str(folder)], tmp_path / "whole").manifest
    stopped = stopped_at(8, folder, tmp_path / "s", by)
    assert stopped.manifest is None
    assert 8 <= stopped.progress.files < 20
    with pytest.raises(DataError, match="half written"):
        Store.open(str(tmp_path / "s"))
    seen: list[str] = []
    read = reading.Reader.read
    monkeypatch.setattr(
        reading.Reader, "read", lambda self, chunk: seen.extend(file.name for file in chunk.files) or read(self, chunk)
    )
    assert ingest("notes", [str(folder)], tmp_path / "s", num_workers=0).manifest == whole
    assert len(seen) == 20 - stopped.progress.files  # nothing is read twice


@pytest.mark.parametrize(
    "moment", ["before a commit", "inside a commit", "after a commit", "before completing", "while completing"]
)
@pytest.mark.parametrize("commits", [0, 3])
def test_sigkill_at_any_moment_loses_and_doubles_nothing(tmp_path, small_steps, monkeypatch, moment, commits):
    folder = write(tmp_path / "in", many())
    whole = ingest("notes", [str(folder)], tmp_path / "whole").manifest
    left = [commits]

    def die() -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    def killed() -> None:
        append, inside, completed = StoreWriter.append, StoreWriter._write, writing.write_atomically
        if moment == "before a commit":
            StoreWriter.append = lambda self, files: (die(), append(self, files))[1]
        elif moment == "inside a commit":
            StoreWriter._write = lambda self, *given: (inside(self, *given), die())[0]
        elif moment == "after a commit":
            StoreWriter.append = lambda self, files: (append(self, files), die())[0]
        elif moment == "before completing":
            left[0] = 0
            StoreWriter.complete = lambda self: die()
        else:
            left[0] = min(commits, 1)  # rejected.tsv, then the manifest
            writing.write_atomically = lambda file, data: (die(), completed(file, data))[1]
        ingest("notes", [str(folder)], tmp_path / "s", num_workers=0)

    assert in_a_child(killed) == -signal.SIGKILL
    with pytest.raises(DataError):
        Store.open(str(tmp_path / "s"))
    assert ingest("notes", [str(folder)], tmp_path / "s", num_workers=0).manifest == whole
    assert [data for data, _, _ in contents(tmp_path / "s")] == [data for data, _, _ in contents(tmp_path / "whole")]


def test_two_ingestions_into_one_store_do_not_meet(tmp_path):
    with (
        StoreWriter(tmp_path / "s", "notes", "characters", {}),
        pytest.raises(DataError, match="another process is ingesting"),
    ):
        ingest("notes", [str(write(tmp_path / "in", many()))], tmp_path / "s")


# ── Full disks and full maps ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_map_grows(tmp_path):
    records = [Record(data=os.urandom(50_000), length=1, name=str(i)) for i in range(30)]
    with StoreWriter(tmp_path / "s", "things", "units", {}, map_bytes=1 << 17) as writer:
        for record in records:
            writer.append([Done(records=(record,), digests=(digest(record),))])
        writer.complete()
    assert [data for data, _, _ in contents(tmp_path / "s")] == [record.data for record in records]


def big(folder: Path) -> Path:
    return write(folder, {f"{i:03d}.note": f"{i} " * 20_000 for i in range(24)})  # 2 MB


def test_a_full_disk_keeps_what_was_written_and_goes_on_once_there_is_room(tmp_path, small_steps):
    folder = big(tmp_path / "in")
    whole = ingest("notes", [str(folder)], tmp_path / "whole").manifest

    def cramped() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))  # EFBIG instead of ENOSPC
        try:
            ingest("notes", [str(folder)], tmp_path / "s", num_workers=0)
        except DataError as error:
            os._exit(7 if "the disk is full" in error.what and "resumes" in error.hint else 8)

    assert in_a_child(cramped) == 7
    before: list[Progress] = []
    assert ingest("notes", [str(folder)], tmp_path / "s", watch=before.append).manifest == whole
    assert before[0].files > 0


def test_a_full_file_system_is_told_as_such(tmp_path, small_steps):
    place = tmp_path / "small"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        with pytest.raises(DataError, match="the disk is full"):
            ingest("notes", [str(big(tmp_path / "in"))], place / "s", num_workers=0)
    finally:
        subprocess.run(["umount", place], check=True)


# ── Workers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_workers_change_nothing_and_one_that_dies_costs_one_file(tmp_path, small_steps):
    notes = many(40)
    folder = write(tmp_path / "in", notes)
    pack(folder / "c.tar", {f"c/{name}": text for name, text in notes.items()})
    pack(folder / "d.tar.gz", {f"d/{name}": text for name, text in notes.items()}, "w:gz")
    here = ingest("notes", [str(folder)], tmp_path / "here", num_workers=0).manifest
    there = ingest("notes", [str(folder)], tmp_path / "there", num_workers=2).manifest
    assert here == there
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert list(rejected_files(tmp_path / "here")) == list(rejected_files(tmp_path / "there"))

    write(folder, {"a/000.note": "crash!"})
    crashed = ingest("notes", [str(folder)], tmp_path / "crashed", num_workers=2).manifest
    assert crashed is not None
    assert here is not None
    assert (crashed.count, crashed.rejected) == (here.count - 1, here.rejected + 1)
    assert "its decoder crashes" in dict(rejected_files(tmp_path / "crashed"))[str(folder / "a/000.note")]


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_sends_costs_no_file_and_no_time(tmp_path, small_steps, monkeypatch):
    monkeypatch.setattr(workers, "ENDED_SECONDS", 0.2)
    folder = write(tmp_path / "in", many() | {"a/000.note": f"killed {tmp_path / 'once'}"})
    manifest = ingest("notes", [str(folder)], tmp_path / "s", num_workers=2).manifest
    assert (tmp_path / "once").exists()
    assert manifest is not None
    assert (manifest.count, manifest.rejected) == (17, 3)  # as many as are bad


@pytest.mark.slow
def test_who_waits_for_a_worker_can_be_asked_to_stop(tmp_path, small_steps, monkeypatch):
    monkeypatch.setattr(workers, "ENDED_SECONDS", math.inf)  # so that it waits for ever
    folder = write(tmp_path / "in", many() | {"b/001.note": f"killed {tmp_path / 'once'}"})

    def ask() -> None:
        while not (tmp_path / "once").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    assert ingest("notes", [str(folder)], tmp_path / "s", num_workers=1).manifest is None
    assert ingest("notes", [str(folder)], tmp_path / "s", num_workers=0).manifest is not None


@pytest.mark.slow
def test_a_pool_can_be_ended_while_it_waits_for_the_rest_of_a_result(tmp_path, notes):
    pool = workers.start(1, notes.__module__)
    sent = workers.submit(pool, sys.modules[notes.__module__].die_while_sending, tmp_path / "once")
    (process,) = pool._processes.values()
    process.join(timeout=600)
    stop = StopRequest()
    stop.reason = "SIGTERM"
    with pytest.raises(workers.StoppedError):
        workers.result(pool, sent, stop)
    manager = pool._executor_manager_thread
    workers.end(pool)
    workers.end(pool)
    manager.join(timeout=600)
    assert not manager.is_alive()  # else this process could not end
    assert isinstance(sent.exception(timeout=600), BrokenProcessPool)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30), st.integers(1, 5), st.integers(100, 5000))
def test_chunks_hold_every_file_once_and_in_order(sizes, chunk_files, chunk_bytes):
    files = [reading.File(path=f"/{i}", inside=f"{i}", size=size) for i, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK_FILES", chunk_files)
        patch.setattr(reading, "CHUNK_BYTES", chunk_bytes)
        pieces = list(reading.chunks(files))
    assert [file for piece in pieces for file in piece.files] == files
    assert all(1 <= len(piece.files) <= chunk_files for piece in pieces)
    assert all(sum(file.size for file in piece.files[:-1]) < chunk_bytes for piece in pieces)


# ── The commands ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_commands_ingest_and_show(tmp_path):
    folder = write(tmp_path / "in", many() | {"photo.jpg": ""})
    out = str(tmp_path / "s")
    made = CliRunner().invoke(ingest_command, ["notes", str(folder), "--out", out, "--label-from", "folder"])
    assert made.exit_code == 0, made.output
    for words in ("17 records of notes", "3 files could not be read", "it is a bad note", "1 file of other kinds"):
        assert words in made.output
    again = CliRunner().invoke(ingest_command, ["notes", str(folder), "--out", out, "--label-from", "folder"])
    assert "already complete" in again.output

    shown = CliRunner().invoke(inspect_command, [out, "--samples", "3"])
    assert shown.exit_code == 0, shown.output
    manifest = Store.open(out).manifest
    for words in ("17 from 20 files (3 rejected)", manifest.fingerprint, "label: 2 values", "lengths in characters"):
        assert words in shown.output
    assert shown.output.count(".note  ") == 3
    assert "label=a" in shown.output


def test_the_histogram_counts_every_record(tmp_path):
    write(tmp_path / "in", {f"{i}.note": "x" * length for i, length in enumerate([1, 1, 2, 9, 50, 51, 400, 3000])})
    ingest("notes", [str(tmp_path / "in")], tmp_path / "s")
    shown = CliRunner().invoke(inspect_command, [str(tmp_path / "s"), "--samples", "0"]).output
    rows = [line.split() for line in shown.splitlines() if " – " in line]
    assert sum(int(row[-1]) for row in rows) == 8


def test_options_are_name_and_value(tmp_path):
    folder = write(tmp_path / "in", {"1.note": "a|b|c"})
    arguments = ["notes", str(folder), "--out", str(tmp_path / "s")]
    made = CliRunner().invoke(ingest_command, [*arguments, "--option", "split=|"])
    assert "3 records" in made.output
    for wrong in (["--option", "split"], ["--option", "split=a", "--option", "split=b"]):
        assert isinstance(CliRunner().invoke(ingest_command, [*arguments, *wrong]).exception, SpecError)


def test_an_interrupted_command_says_how_to_go_on(tmp_path, small_steps, monkeypatch):
    folder = write(tmp_path / "in", many())
    monkeypatch.setattr(
        "didact_stores.cli.ingest.ingest", lambda kind, paths, out, **rest: stopped_at(8, folder, Path(out))
    )
    stopped = CliRunner().invoke(ingest_command, ["notes", str(folder), "--out", str(tmp_path / "s")])
    assert stopped.exit_code == 130
    assert "repeat the command" in stopped.output
