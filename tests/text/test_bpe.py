import itertools
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import DataError, SpecError
from didact_stores import Record
from didact_stores.store import Store
from didact_text import ByteBPE, TokenizerFile
from didact_text.bpe import BYTES as BYTES_OF_SYMBOLS
from didact_text.bpe import END, MASK, PAD, SPECIALS, START, UNKNOWN


def ids(tokenizer, text):
    return tokenizer.load().encode(text, add_special_tokens=False).ids


def test_special_tokens_have_robertas_ids(bpe):
    loaded = bpe.load()
    assert [loaded.token_to_id(special) for special in SPECIALS] == [START, PAD, END, UNKNOWN] == [0, 1, 2, 3]
    assert loaded.token_to_id(MASK) == loaded.get_vocab_size() - 1 == bpe.vocabulary - 1


def test_any_text_comes_back_as_it_was(bpe):
    loaded = bpe.load()

    @given(st.text(st.characters(codec="utf-8")) | st.sampled_from(["<s> a <mask></s><pad>", " <unk> "]))
    @settings(max_examples=300, deadline=None)
    def comes_back(text):
        found = loaded.encode(text, add_special_tokens=False).ids
        assert loaded.decode(found, skip_special_tokens=False) == text
        assert not {START, PAD, END, UNKNOWN, bpe.vocabulary - 1} & set(found)

    comes_back()


def test_merges_apply_to_each_word_in_order_of_rank(bpe, corpus_text):
    model = json.loads(bpe.file().read_text())["model"]
    ranks = {tuple(merge): rank for rank, merge in enumerate(model["merges"])}

    def encode_word(word):
        parts = [BYTES[byte] for byte in word.encode()]
        while len(parts) > 1:
            rank, at = min((ranks.get(pair, 1 << 30), at) for at, pair in enumerate(itertools.pairwise(parts)))
            if rank == 1 << 30:
                break
            parts[at : at + 2] = ["".join(parts[at : at + 2])]
        return [model["vocab"][part] for part in parts]

    for line in corpus_text.split("\n")[:50]:
        words = re.findall(r" ?[^\W\d_]+| ?[^\s\w]+|\s+", line)  # GPT-2's words, of letters and full stops
        assert "".join(words) == line
        assert [number for word in words for number in encode_word(word)] == ids(bpe, line)


def test_words_joined_are_the_text(bpe, corpus_text):
    text = corpus_text[:500].replace("é", "e")
    assert "".join(bpe.words(ids(bpe, text))) == text
    assert bpe.words([START, PAD, END, UNKNOWN, bpe.vocabulary - 1]) == (*SPECIALS, MASK)


def test_a_part_of_a_character_is_told_by_its_bytes(bpe):
    words = "".join(bpe.words(ids(bpe, "日")))
    assert words == "".join(f"\\x{byte:02x}" for byte in "日".encode())
    assert {symbol: byte for byte, symbol in _gpt2_bytes().items()} == BYTES_OF_SYMBOLS


def test_frequent_words_take_fewer_tokens_than_letters(bpe, corpus_text):
    assert len(ids(bpe, corpus_text)) < 0.6 * len(corpus_text)


def test_learning_twice_gives_the_same_vocabulary(bpe, copied):
    again = ByteBPE(store=copied, vocabulary_size=bpe.vocabulary_size)
    again.prepare()
    assert again.file() != bpe.file()
    assert again.fingerprint() == bpe.fingerprint()


def test_a_vocabulary_is_learnt_once(copied, monkeypatch):
    tokenizer = ByteBPE(store=copied, vocabulary_size=300)
    tokenizer.prepare()
    monkeypatch.setattr(ByteBPE, "_learn", lambda *_: pytest.fail("learnt again"))
    tokenizer.prepare()
    with pytest.raises(pytest.fail.Exception, match="learnt again"):
        ByteBPE(store=copied, vocabulary_size=301).prepare()


def test_reading_before_preparing_says_what_to_do(copied):
    with pytest.raises(DataError, match="does not exist yet") as caught:
        ByteBPE(store=copied, vocabulary_size=300).load()
    assert "prepare()" in caught.value.hint


def test_too_little_text_says_how_many_ids_it_gives(make_store):
    store = make_store([Record(data=b"the cat and the hat", length=19.0, name="a")])
    with pytest.raises(DataError, match="not of 50,265") as caught:
        ByteBPE(store=store).prepare()
    enough = int(re.search(r"at most (\d+)", caught.value.hint).group(1))
    ByteBPE(store=store, vocabulary_size=enough).prepare()
    assert not list((Store.open(store).path / "derived").glob("*.partial"))


def test_a_vocabulary_without_room_for_all_bytes_is_refused():
    with pytest.raises(SpecError, match="at least 261"):
        ByteBPE(store="any", vocabulary_size=260)


def test_a_tokenizer_from_a_file_is_the_same(bpe, tmp_path, corpus_text):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(bpe.file().read_bytes())
    tokenizer = TokenizerFile(path=str(file))
    assert tokenizer.vocabulary == bpe.vocabulary
    assert tokenizer.fingerprint() == bpe.fingerprint()
    assert ids(tokenizer, corpus_text) == ids(bpe, corpus_text)


def test_a_file_with_other_special_ids_is_refused(bpe, tmp_path):
    data = bpe.file().read_text().replace('"<pad>"', '"[PAD]"')
    (tmp_path / "tokenizer.json").write_text(data)
    with pytest.raises(DataError, match="<pad> must be 1, got None"):
        TokenizerFile(path=str(tmp_path / "tokenizer.json")).load()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"version": "1.0"}'])
def test_a_file_that_holds_no_tokenizer_is_named(tmp_path, content):
    file: Path = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read") as caught:
        TokenizerFile(path=str(file)).load()
    assert caught.value.where == str(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        TokenizerFile(path=str(tmp_path / "none.json")).load()


def _gpt2_bytes():
    """GPT-2's printable stand-in for each byte (encoder.py of its release)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = dict(zip(printable, map(chr, printable), strict=True))
    for byte in range(256):
        if byte not in stand_ins:
            stand_ins[byte] = chr(256 + len(stand_ins) - len(printable))
    return stand_ins


BYTES = _gpt2_bytes()
