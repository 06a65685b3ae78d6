import pytest

from didact import DataError, SpecError
from didact_text import TextFiles

WIKI = b" \n = Lobster = \n \n The lobster is a\ncrustacean .\n\n\n It is blue . \n"


def read(data, name, **options):
    return [(r.data.decode(), r.name, dict(r.fields)) for r in TextFiles().records(data, name, options)]


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
    assert "iconv" in caught.value.mend
    assert caught.value.where == "old.txt"


@pytest.mark.parametrize(("name", "data"), [("a.txt", b""), ("a.txt", b" \n\n \n"), ("a.tsv", b"\n"), ("a.csv", b"")])
def test_a_file_without_text_is_refused(name, data):
    with pytest.raises(DataError, match="holds no text"):
        read(data, name)


def test_columns_are_found_by_number():
    data = b'a film\t1\n\nanother "one\tx\t0\n'
    assert read(data[:10], "s.tsv", label="2") == [("a film", "s.tsv:1", {"label": "1"})]
    with pytest.raises(DataError, match=r"line 1 has 2 columns, and column 3 is asked for"):
        read(data, "s.tsv", label="3")


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
    with pytest.raises(DataError, match="line 1 is no CSV"):
        read(b'"a"b,c\n', "s.csv")


def test_a_missing_column_is_named_with_a_suggestion():
    with pytest.raises(DataError, match="no column 'sentense'") as caught:
        read(b"sentence\tlabel\ngood\t1\n", "s.tsv", text="sentense")
    assert "sentence" in caught.value.mend


@pytest.mark.parametrize("options", [{"splitt": "line"}, {"split": "word"}, {"header": "maybe"}])
def test_options_that_do_not_exist_are_refused(options):
    with pytest.raises(SpecError):
        read(b"a", "a.txt", **options)


def test_a_description_shows_the_beginning_on_one_line():
    (record,) = TextFiles().records(b"a\nb " + b"c" * 100, "a.txt", {})
    described = TextFiles().describe(record)
    assert "a b ccc" in described
    assert "\n" not in described
    assert len(described) < 100
