import gzip

import pytest

from didact import DataError, SpecError
from didact_text import TextFiles

WIKI = b" \n = Lobster = \n \n The lobster is a\ncrustacean .\n\n\n It is blue . \n"


def read(data, name, **options):
    found = TextFiles().records(data, name, options)
    return [(one.data.decode(), one.name, dict(one.fields)) for one in found if not one.fault]


def faults(data, name, **options):
    return [(one.name, one.fault) for one in TextFiles().records(data, name, options) if one.fault]


def test_blank_lines_part_documents():
    assert read(WIKI, "wiki.txt") == [
        ("= Lobster =", "wiki.txt:2", {}),
        ("The lobster is a\ncrustacean .", "wiki.txt:4", {}),
        ("It is blue .", "wiki.txt:8", {}),
    ]


def test_every_line_can_be_a_document():
    found = read(WIKI, "wiki.txt", split="line")
    assert [name for _, name, _ in found] == ["wiki.txt:2", "wiki.txt:4", "wiki.txt:5", "wiki.txt:8"]


def test_the_whole_file_can_be_a_document():
    assert read(b"a\n\nb\n", "wiki.txt", split="file") == [("a\n\nb", "wiki.txt:1", {})]


def test_windows_line_ends_and_byte_order_marks_are_taken_off():
    assert read(b"\xef\xbb\xbfa\r\nb\r\n\r\nc", "a.txt") == [("a\nb", "a.txt:1", {}), ("c", "a.txt:4", {})]


def test_length_counts_bytes():
    (record,) = TextFiles().records("é ü".encode(), "a.txt", {})
    assert record.length == 5.0


@pytest.mark.parametrize(
    ("data", "offset"), [("café".encode("latin-1"), 3), (b"ok \xe2\x28", 3), (b"\xff\xfea\x00", 0)]
)
def test_what_is_not_utf8_is_refused_with_the_place(data, offset):
    with pytest.raises(DataError, match=f"not UTF-8: byte 0x{data[offset]:02x} at offset {offset}") as caught:
        read(data, "old.txt")
    assert "iconv" in caught.value.hint
    assert caught.value.where == "old.txt"


@pytest.mark.parametrize(("name", "data"), [("a.txt", b""), ("a.txt", b" \n\n \n"), ("a.tsv", b"\n"), ("a.csv", b"")])
def test_a_file_without_text_is_refused(name, data):
    with pytest.raises(DataError, match="has no text"):
        read(data, name)


def test_columns_are_found_by_number():
    data = b'a film\t1\n\nanother "one\tx\t0\n'
    assert read(data[:10], "s.tsv", label="2") == [("a film", "s.tsv:1", {"label": "1"})]


@pytest.mark.parametrize(("name", "mark"), [("s.tsv", "\t"), ("s.csv", ",")])
def test_a_row_with_too_few_columns_is_told_of_and_the_others_are_read(name, mark):
    data = "one|1\ntwo\nthree|3\n".replace("|", mark).encode()
    assert read(data, name, label="2") == [("one", f"{name}:1", {"label": "1"}), ("three", f"{name}:3", {"label": "3"})]
    assert faults(data, name, label="2") == [(f"{name}:2", "line 2 has 1 columns, and column 2 is requested")]
    with pytest.raises(
        DataError, match="line 1 has 2 columns, and column 3 is requested; none of its 3 rows"
    ) as caught:
        read(data, name, label="3")
    assert "--option label=" in caught.value.hint


def test_a_tsv_has_no_quotes():
    assert read(b'said "so\t1\n"and" so\t0', "s.tsv")[0][0] == 'said "so'


def test_columns_are_found_by_name():
    data = b"label\tsentence\tsplit\n1\tgood\ttrain\n0\tbad\tdev\n"
    assert read(data, "s.tsv", text="sentence", label="label", fields="split") == [
        ("good", "s.tsv:2", {"label": "1", "split": "train"}),
        ("bad", "s.tsv:3", {"label": "0", "split": "dev"}),
    ]


def test_a_header_can_be_passed_over_where_columns_are_numbers():
    assert read(b"sentence\tlabel\ngood\t1\n", "s.tsv", label="2", header="yes")[0][0] == "good"


def test_csv_knows_quotes_and_lines_inside_them():
    data = b'text,label\n"one, ""two""\nthree",a\nfour,b\n'
    found = read(data, "s.csv", text="text", label="label")
    assert [(text, fields["label"]) for text, _, fields in found] == [('one, "two"\nthree', "a"), ("four", "b")]


def test_a_csv_cell_may_be_long():
    assert len(read(b"a" * 200_000, "s.csv")[0][0]) == 200_000


def test_broken_quotes_are_refused():
    with pytest.raises(DataError, match="line 1 is not CSV"):
        read(b'"a"b,c\n', "s.csv")


def test_a_missing_column_is_named_with_a_suggestion():
    with pytest.raises(DataError, match="no column 'sentense'") as caught:
        read(b"sentence\tlabel\ngood\t1\n", "s.tsv", text="sentense")
    assert "sentence" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"splitt": "line"}, "has no option 'splitt', only fields, header, label, split, text"),
        ({"split": "word"}, "split must be one of blank, line, file, got 'word'"),
        ({"header": "maybe"}, "header must be one of yes, no, got 'maybe'"),
        ({"text": ""}, "the option text is empty"),
        ({"fields": " , "}, "the option fields is empty"),
        ({"fields": "lang,text"}, "the option fields names text, which has an option of its own"),
        ({"label": "stars", "fields": "label"}, "the option fields names label, which has an option of its own"),
    ],
)
def test_options_that_say_nothing_sensible_are_refused(options, said):
    with pytest.raises(SpecError, match=said) as caught:
        TextFiles().check_options(options)
    assert caught.value.where.startswith("--option ")
    assert caught.value.hint


def test_options_that_make_sense_are_let_pass():
    TextFiles().check_options({"split": "line", "text": "1", "fields": "label,lang", "header": "yes"})


# ── JSON, a line each ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_line_of_a_jsonl_is_a_document():
    data = b'\xef\xbb\xbf{"text": "one\\n\\ntwo", "n": 1}\r\n\n{"n": 2, "text": "caf\xc3\xa9"}\n{"text": " "}'
    assert read(data, "a.jsonl") == [("one\n\ntwo", "a.jsonl:1", {}), ("café", "a.jsonl:3", {})]


def test_fields_of_a_jsonl_are_named_as_the_columns_of_a_table_are():
    data = b'{"body": "a", "stars": 5, "lang": " de ", "spam": false, "score": 0.5, "by": null, "more": {"deep": [1]}}'
    assert read(data, "a.jsonl", text="body", label="stars", fields="lang,spam,score,by") == [
        ("a", "a.jsonl:1", {"label": "5", "lang": "de", "spam": "false", "score": "0.5"})
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": "cut of', "it is not JSON: Unterminated string starting at character 10"),
        (b"plain words", "it is not JSON: Expecting value at character 1"),
        (b'["text", "label"]', 'it is a list, not an object such as {"text": …}'),
        (b"12", "it is a number, not an object"),
        (b'{"label": 1, "txt": "a"}', "it has no field 'text'; did you mean txt?"),
        (b'{"text": "a"}', "it has no field 'label'; known: text"),
        (b'{"text": null, "label": 1}', "its field 'text' is null, not text"),
        (b'{"text": 5, "label": 1}', "its field 'text' is a number, not text"),
        (b'{"text": "a", "label": [1]}', "its field 'label' is a list, not one value"),
        (b'{"text": "caf\xe9", "label": 1}', "it is not UTF-8: byte 0xe9 at byte 14 of it"),
        (b'{"text": "\\ud83d", "label": 1}', "half of a surrogate pair"),
        (b'{"text": "a", "label": ' + b"9" * 5000 + b"}", "it is JSON that cannot be read: Exceeds the limit"),
        (b"[" * 100_000, "it is JSON that cannot be read: maximum recursion"),
    ],
)
def test_a_bad_line_of_a_jsonl_is_told_of_and_the_others_are_read(line, said):
    good = b'{"text": "good", "label": 1}\n'
    assert [name for _, name, _ in read(good + line + b"\n" + good, "a.jsonl", label="label")] == [
        "a.jsonl:1",
        "a.jsonl:3",
    ]
    ((name, fault),) = faults(good + line + b"\n" + good, "a.jsonl", label="label")
    assert name == "a.jsonl:2"
    assert said in fault
    with pytest.raises(DataError) as caught:
        read(line, "a.jsonl", label="label")
    assert said in caught.value.what
    assert caught.value.where == "a.jsonl:1"


def test_a_misspelt_field_is_one_reason_and_not_one_a_line():
    with pytest.raises(DataError, match=r"no field 'txt'; did you mean text\?; none of its 1,000 rows can be read"):
        read(b"odd\n" + b'{"text": "a"}\n' * 999, "a.jsonl", text="txt")


# ── Packed files ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "data", "options"),
    [
        ("a.txt", WIKI, {}),
        ("a.txt", WIKI, {"split": "file"}),
        ("a.tsv", b"label\tbody\n1\tone\n0\ttwo\n", {"text": "body", "label": "label"}),
        ("a.csv", b'"one, two",1\n', {"label": "2"}),
        ("a.jsonl", b'{"text": "one"}\n{"text": "two"}\n', {}),
    ],
)
def test_a_packed_file_gives_what_it_gives_unpacked(name, data, options):
    plain = read(data, name, **options)
    halves = gzip.compress(data[:9]) + gzip.compress(data[9:])  # as `cat a.gz b.gz` makes them
    for packed in (gzip.compress(data), halves):
        found = read(packed, name + ".gz", **options)
        assert [(text, place.replace(".gz", ""), fields) for text, place, fields in found] == plain
        assert plain


PACKED = gzip.compress(WIKI, mtime=0)  # without the time, which would differ between pytest's workers


@pytest.mark.parametrize(
    "data",
    [b"", b"plain text", PACKED[:-9], PACKED[:-8] + b"x" * 8],
    ids=["empty", "not packed", "cut off", "wrong checksum"],
)
def test_a_packed_file_that_is_broken_is_refused(data):
    with pytest.raises(DataError, match=r"it cannot be decompressed|it has no text"):
        read(data, "a.txt.gz")


def test_a_description_shows_the_beginning_on_one_line():
    (record,) = TextFiles().records(b"a\nb " + b"c" * 100, "a.txt", {})
    described = TextFiles().describe(record)
    assert "a b ccc" in described
    assert "\n" not in described
    assert len(described) < 100
