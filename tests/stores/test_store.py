"""Stores: records are read as they were written, in any process, and faults of a folder are reported."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from didact import DataError
from didact_stores import Record, StoredSamples
from didact_stores.ingest import write_store
from didact_stores.store import Store, find_store


class Plain(StoredSamples):
    """Samples that are their bytes."""

    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        return (self.content(index),)

    def content(self, index: int) -> torch.Tensor:
        return torch.frombuffer(bytearray(self.record(index).data), dtype=torch.uint8)


def digits(folder: Path, count: int = 12) -> Path:
    speakers = ("ann", "bob", "theo")
    write_store(
        folder,
        "audio",
        "seconds",
        [
            Record(
                data=bytes([i]) * (i + 1),
                length=0.5 + i,
                name=f"{i}.wav",
                fields={"label": str(i % 4), "speaker": speakers[i % 3]},
            )
            for i in range(count)
        ],
    )
    return folder


records = st.lists(
    st.builds(
        Record,
        data=st.binary(min_size=1, max_size=40),
        length=st.floats(min_value=1e-3, max_value=1e6),
        name=st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8),
        fields=st.dictionaries(st.sampled_from(["label", "speaker", "split"]), st.sampled_from("xyz"), max_size=3),
    ),
    min_size=1,
    max_size=20,
)


# on a machine with much else to do, drawing the records is slow, which is nothing that is tested here
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records)
def test_what_is_written_is_what_is_read(tmp_path_factory, written):
    folder = tmp_path_factory.mktemp("stores") / "one"
    write_store(folder, "things", "units", written)
    store = Store.open(str(folder), "things")
    assert len(store) == len(written)
    assert store.lengths.dtype == np.float64
    for index, record in enumerate(written):
        read = store.get(index)
        assert (read.data, read.length, read.name, dict(read.fields)) == (
            record.data,
            record.length,
            record.name,
            dict(record.fields),
        )
        assert store.lengths[index] == record.length
        assert store.name(index) == record.name
    for field in {field for record in written for field in record.fields}:
        codes, names = store.column(field)
        assert list(names) == sorted(names)
        assert codes.dtype == np.int64
        assert [names[code] if code >= 0 else None for code in codes] == [one.fields.get(field) for one in written]


def test_a_column_of_thousands_of_values_keeps_them_apart(tmp_path):
    many = [Record(data=b"x", length=1, name="n", fields={"id": f"{i * 7919 % 70001:05d}"}) for i in range(70_000)]
    write_store(tmp_path / "s", "things", "units", many)
    codes, names = Store.open(str(tmp_path / "s")).column("id")
    assert len(names) == 70_000
    assert [names[code] for code in codes[:2000]] == [one.fields["id"] for one in many[:2000]]


def test_the_fingerprint_follows_content_fields_kind_and_order_but_not_names(tmp_path):
    def fingerprint(kind: str, *contents: tuple[bytes, str, str]) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        made = [Record(data=data, length=1, name=name, fields={"label": label}) for data, label, name in contents]
        return write_store(folder, kind, "units", made).fingerprint

    one = fingerprint("things", (b"a", "x", "1"), (b"b", "y", "2"))
    assert one == fingerprint("things", (b"a", "x", "renamed"), (b"b", "y", "2"))
    assert one != fingerprint("things", (b"A", "x", "1"), (b"b", "y", "2"))
    assert one != fingerprint("things", (b"a", "z", "1"), (b"b", "y", "2"))
    assert one != fingerprint("things", (b"b", "y", "2"), (b"a", "x", "1"))
    assert one != fingerprint("others", (b"a", "x", "1"), (b"b", "y", "2"))


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_store_that_was_read_can_be_read_in_a_child(tmp_path, method):
    store = Store.open(str(digits(tmp_path / "s")))
    other = Store.open(str(tmp_path / "s"))
    assert store.get(1).name == other.get(1).name == "1.wav"  # opened here, and twice, before the child is made
    # a function of this file is not importable in a fresh interpreter, a method of the store is
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(store.get, (1,)).name == "1.wav"
        assert pool.apply(other.name, (2,)) == "2.wav"
    assert store.get(2).name == "2.wav"


def test_a_forked_child_reads_while_its_parent_goes_on_reading(tmp_path):
    store = Store.open(str(digits(tmp_path / "s")))
    expected = [store.get(i).data for i in range(len(store))]
    child = os.fork()
    if child == 0:
        right = all(store.get(i).data == expected[i] for i in range(len(store)) for _ in range(50))
        os._exit(0 if right else 1)
    for _ in range(50):
        assert [store.get(i).data for i in range(len(store))] == expected
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_opened_store_leaves_its_environment_behind_when_pickled(tmp_path):
    store = Store.open(str(digits(tmp_path / "s")))
    store.get(0)
    assert len(store.lengths) == 12
    again = pickle.loads(pickle.dumps(store))
    assert again._reader is None
    assert again.get(3).data == store.get(3).data
    assert len(pickle.dumps(store)) < 2_000


def test_conditions_choose_records(tmp_path):
    store = Store.open(str(digits(tmp_path / "s")))
    everyone = Plain(store, None)
    theo, others = Plain(store, "speaker == theo"), Plain(store, "speaker != theo")
    assert {theo.name(i) for i in range(len(theo))} == {"2.wav", "5.wav", "8.wav", "11.wav"}
    assert len(theo) + len(others) == len(everyone) == 12
    assert theo.lengths.tolist() == [2.5, 5.5, 8.5, 11.5]
    assert theo.classes == others.classes == ("0", "1", "2", "3")
    assert theo.labels is not None
    assert [theo.classes[label] for label in theo.labels] == ["2", "1", "0", "3"]
    assert theo.content(1).tolist() == [5] * 6
    both = Plain(store, "speaker != theo and label == 3")
    assert [both.name(i) for i in range(len(both))] == ["3.wav", "7.wav"]
    assert len({everyone.fingerprint, theo.fingerprint, others.fingerprint}) == 3
    assert everyone.fingerprint == store.fingerprint


def test_a_value_may_hold_the_word_and(tmp_path):
    records = [
        Record(data=b"x", length=1, name=name, fields={"label": name, "set": "a"}) for name in ("rock and roll", "jazz")
    ]
    write_store(tmp_path / "s", "things", "units", records)
    store = Store.open(str(tmp_path / "s"))
    assert Plain(store, "set == a and label == rock and roll").places.tolist() == [0]
    assert Plain(store, "label != rock and roll and set == a").places.tolist() == [1]


def test_several_threads_may_be_the_first_to_read(tmp_path):
    path = str(digits(tmp_path / "s"))
    with ThreadPoolExecutor(4) as pool:
        for _ in range(50):
            store = Store.open(path)
            together = threading.Barrier(4, timeout=600)

            def read(index, store=store, together=together):
                together.wait()
                return store.get(index).name

            assert list(pool.map(read, range(4))) == [store.name(index) for index in range(4)]
            del store, read


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("speaker != teho", "did you mean theo"),
        ("speeker != theo", "did you mean speaker"),
        ("speaker is theo", "field == value"),
        ("speaker == theo and speaker == ann", "no record fulfils"),
    ],
)
def test_a_condition_that_cannot_mean_anything_is_an_error(tmp_path, where, said):
    store = Store.open(str(digits(tmp_path / "s")))
    with pytest.raises(DataError) as raised:
        Plain(store, where)
    assert said in str(raised.value)


def test_unlabelled_records_have_no_labels(tmp_path):
    write_store(tmp_path / "s", "things", "units", [Record(data=b"x", length=1, name="n")])
    samples = Plain(Store.open(str(tmp_path / "s")))
    assert samples.labels is None
    assert samples.classes == ()


def test_a_name_is_looked_up_where_stores_are_kept(tmp_path, monkeypatch):
    digits(tmp_path / "stores" / "mine")
    digits(tmp_path / "elsewhere" / "theirs")
    monkeypatch.chdir(tmp_path)
    assert Store.open("mine").path == Path("stores/mine")
    assert Store.open("elsewhere/theirs").path == Path("elsewhere/theirs")
    with pytest.raises(DataError, match="no store 'theirs'"):
        Store.open("theirs")
    monkeypatch.setenv("DIDACT_STORES", str(tmp_path / "elsewhere"))
    assert Store.open("theirs").path == tmp_path / "elsewhere" / "theirs"


def test_an_unusable_store_is_named_with_a_hint(tmp_path):
    folder = digits(tmp_path / "s")
    with pytest.raises(DataError, match="holds audio, not images"):
        Store.open(str(folder), "images")
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="is not a store"):
        find_store(str(tmp_path / "photos"))

    manifest = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(manifest | {"schema": 99}))
    with pytest.raises(DataError, match="layout 99"):
        Store.open(str(folder))
    (folder / "store.json").write_text("{")
    with pytest.raises(DataError, match=r"store\.json cannot be read"):
        Store.open(str(folder))
    (folder / "store.json").unlink()
    with pytest.raises(DataError, match="half written") as raised:
        Store.open(str(folder))
    assert "didact ingest" in raised.value.hint


def test_a_damaged_store_says_so_where_it_is_read(tmp_path):
    folder = digits(tmp_path / "s")
    np.save(folder / "columns" / "lengths.npy", np.ones(3))
    with pytest.raises(DataError, match="3 rows for 12 records"):
        _ = Store.open(str(folder)).lengths
    (folder / "data.mdb").write_bytes(b"this is not LMDB" * 1000)
    with pytest.raises(DataError, match="the store is damaged"):
        Store.open(str(folder)).get(0)


def test_a_record_that_is_not_there_is_an_index_error(tmp_path):
    store = Store.open(str(digits(tmp_path / "s")))
    for index in (-1, 12):
        with pytest.raises(IndexError):
            store.get(index)


# ── What is imported ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_commands_and_reading_import_no_torch(tmp_path):
    """In a process of its own: an ingestion, its help, an inspection, and reading a record."""
    (tmp_path / "in").mkdir()
    Image.new("RGB", (9, 8), "red").save(tmp_path / "in" / "red.png")
    script = f"""
import sys
from didact import cli
from didact_stores import Medium, Store
for words in (["ingest", "--help"], ["ingest", "images", {str(tmp_path / "in")!r}, "--out", {str(tmp_path / "s")!r}],
              ["inspect", {str(tmp_path / "s")!r}]):
    sys.argv = ["didact", *words]
    try:
        cli.main()
    except SystemExit as stopped:
        assert not stopped.code, words
assert Store.open({str(tmp_path / "s")!r}).get(0).name.endswith("red.png")
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "red.png" in done.stdout
