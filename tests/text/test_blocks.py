import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import DataError, SpecError
from didact_stores import Record
from didact_text import ByteBPE, Sentences, TextBlocks
from didact_text.blocks import document_blocks
from didact_text.bpe import END, START


def ids_of(records, bpe):
    """The corpus, tokenised line by line without any of the code under test."""
    loaded = bpe.load()
    return [
        [number for line in record.data.decode().split("\n") for number in [*loaded.encode(line).ids, END]]
        for record in records
    ]


def joined(lists):
    return list(itertools.chain.from_iterable(lists))


def contents(source):
    samples = source.open()
    found = [samples.content(index).tolist() for index in range(len(samples))]
    assert [len(content) for content in found] == samples.lengths.tolist()
    assert all(content[0] == START for content in found)
    return [content[1:] for content in found]


def prepared(source):
    source.prepare()
    return source


def test_contiguous_blocks_reproduce_the_corpus(store, bpe, records):
    blocks = contents(prepared(TextBlocks(store=store, tokenizer=bpe, block_tokens=32, breaks="none")))
    assert joined(blocks) == joined(ids_of(records, bpe))
    assert {len(block) for block in blocks[:-1]} == {31}


def test_blocks_decode_to_the_text_that_was_ingested(store, bpe, corpus_text):
    blocks = contents(prepared(TextBlocks(store=store, tokenizer=bpe, block_tokens=32, breaks="none")))
    text = bpe.load().decode(joined(blocks), skip_special_tokens=False)
    assert text.replace("</s>", "\n").split() == corpus_text.split()


def test_document_blocks_hold_whole_lines_of_one_record(store, bpe, records):
    blocks = contents(prepared(TextBlocks(store=store, tokenizer=bpe, block_tokens=512)))
    assert joined(blocks) == joined(ids_of(records, bpe))
    assert all(block[-1] == END for block in blocks)
    assert blocks == ids_of(records, bpe)  # each record is shorter than 511 tokens here


def test_document_blocks_begin_and_end_with_a_line_where_lines_fit(store, bpe, records):
    size = 1 + max(line.count(" ") * 6 for record in records for line in record.data.decode().split("\n"))
    blocks = contents(prepared(TextBlocks(store=store, tokenizer=bpe, block_tokens=size)))
    assert all(block[-1] == END for block in blocks)
    assert joined(blocks) == joined(ids_of(records, bpe))


documents = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=5)


@given(documents=documents, size=st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_packing_is_greedy(documents, size):
    expected, ids, offsets, at = [], [], [0], 0
    for number, lines in enumerate(documents):
        block = 0
        for line in lines:
            ids += [7] * (line - 1) + [END]
            if block and block + line > size:  # it goes to the next block as a whole
                expected.append((at, at + block, number))
                at, block = at + block, 0
            block += line
            while block > size:  # only a line that is longer than a block
                expected.append((at, at + size, number))
                at, block = at + size, block - size
        expected.append((at, at + block, number))
        at += block
        offsets.append(at)
    found = document_blocks(np.array(ids), np.array(offsets), size)
    assert [tuple(block) for block in found.tolist()] == expected


@pytest.fixture(scope="module")
def labelled(make_store, records):
    kept = [
        Record(data=r.data, length=r.length, name=r.name, fields={"label": "odd" if n % 2 else "even"})
        for n, r in enumerate(records)
    ]
    return make_store(kept)


@pytest.mark.parametrize("breaks", ["document", "none"])
def test_a_condition_leaves_out_what_it_says(labelled, bpe, records, breaks):
    source = prepared(TextBlocks(store=labelled, tokenizer=bpe, block_tokens=32, breaks=breaks, where="label == odd"))
    assert joined(contents(source)) == joined(ids_of(records[1::2], bpe))


def test_a_document_block_has_its_records_label(labelled, bpe):
    samples = prepared(TextBlocks(store=labelled, tokenizer=bpe, block_tokens=32)).open()
    assert samples.classes == ("even", "odd")
    for index in range(len(samples)):
        record = samples.record(index)
        assert record.fields["label"] == samples.classes[samples.labels[index]]
        assert record.name in samples.name(index)


def test_a_contiguous_block_is_named_by_where_it_begins(labelled, bpe, records):
    source = TextBlocks(store=labelled, tokenizer=bpe, block_tokens=32, breaks="none", where="label == even")
    samples = prepared(source).open()
    stream = [
        (record.name, number)
        for record, ids in zip(records[::2], ids_of(records[::2], bpe), strict=True)
        for number in ids
    ]
    for index in range(len(samples)):
        assert stream[index * 31][0] in samples.name(index)


def test_views_are_the_content(store, bpe):
    samples = prepared(TextBlocks(store=store, tokenizer=bpe, block_tokens=32)).open()
    (view,) = samples.views(3, length=None, generator=torch.Generator())
    assert view.dtype == torch.int64
    assert torch.equal(view, samples.content(3))


def test_fingerprints_tell_settings_apart(labelled, bpe):
    base = TextBlocks(store=labelled, tokenizer=bpe, block_tokens=32)
    variants = [base, *(base.evolve(**change) for change in CHANGES)]
    assert len({prepared(variant).open().fingerprint for variant in variants}) == len(variants)
    assert base.open().fingerprint == base.open().fingerprint


CHANGES = (
    {"block_tokens": 33},
    {"breaks": "none"},
    {"where": "label == odd"},
    {"tokenizer.vocabulary_size": 300},
)


def test_reading_before_preparing_says_what_to_do(copied):
    source = TextBlocks(store=copied, tokenizer=ByteBPE(store=copied, vocabulary_size=300))
    with pytest.raises(DataError, match="does not exist yet"):
        source.open()


def test_preparing_goes_on_where_it_was_interrupted(copied, monkeypatch):
    source = TextBlocks(store=copied, tokenizer=ByteBPE(store=copied, vocabulary_size=300), block_tokens=32)
    with monkeypatch.context() as patched:
        patched.setattr("didact_text.corpus.np.cumsum", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            source.prepare()
    monkeypatch.setattr(ByteBPE, "_learn", lambda *_: pytest.fail("the vocabulary was there already"))
    source.prepare()
    assert len(source.open()) > 0


def test_a_sentence_is_a_record_between_its_marks(store, bpe, records):
    found = contents(prepared(Sentences(store=store, tokenizer=bpe)))
    assert found == ids_of(records, bpe)


def test_a_long_sentence_is_cut_and_keeps_its_end(store, bpe, records):
    found = contents(prepared(Sentences(store=store, tokenizer=bpe, max_tokens=16)))
    for sentence, ids in zip(found, ids_of(records, bpe), strict=True):
        assert sentence == (ids if len(ids) <= 15 else [*ids[:14], END])


def test_sentences_have_the_stores_labels(labelled, bpe):
    samples = prepared(Sentences(store=labelled, tokenizer=bpe, where="label == odd")).open()
    assert samples.classes == ("even", "odd")
    assert set(samples.labels.tolist()) == {1}


def test_the_bag_of_tokens_counts_words(bpe, store):
    source = Sentences(store=store, tokenizer=bpe)
    bag = source.raw_features(torch.tensor([0, 9, 9, 9, 50, 2]))
    assert bag.shape == (bpe.vocabulary,)
    assert bag.nonzero().flatten().tolist() == [9, 50]
    assert float(bag[9] / bag[50]) == pytest.approx(2.0)  # log 4 / log 2
    assert float(bag.norm()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "make", [lambda **a: TextBlocks(block_tokens=1, **a), lambda **a: Sentences(max_tokens=2, **a)]
)
def test_samples_too_short_for_a_token_are_refused(make):
    with pytest.raises(SpecError, match="at least"):
        make(store="any", tokenizer=ByteBPE(store="any"))


def test_one_text_is_read_as_its_sample_is(store, bpe, records):
    source = Sentences(store=store, tokenizer=bpe, max_tokens=30)
    source.prepare()
    samples = source.open()
    for index, record in enumerate(records):
        assert torch.equal(source.read(record.data, record.name), samples.content(index))
    with pytest.raises(DataError, match="it is not UTF-8"):
        source.read(b"\xff\xfe", "latin.txt")


def test_one_text_is_read_as_its_first_block_is(store, bpe, records):
    source = TextBlocks(store=store, tokenizer=bpe, block_tokens=20)
    source.prepare()
    samples = source.open()
    firsts = [next(index for index in range(len(samples)) if samples.place(index) == place) for place in range(60)]
    for first, record in zip(firsts, records, strict=True):
        assert torch.equal(source.read(record.data, record.name), samples.content(first))
    contiguous = TextBlocks(store=store, tokenizer=bpe, block_tokens=20, breaks="none")
    assert torch.equal(contiguous.read(records[0].data, ""), contiguous.open().content(0))


def test_the_whole_source_of_blocks_has_a_sample_for_each_record(store, bpe, records):
    whole = TextBlocks(store=store, tokenizer=bpe, block_tokens=20, breaks="none").whole()
    assert whole == Sentences(store=store, tokenizer=bpe, max_tokens=20)
    whole.prepare()
    assert len(whole.open()) == len(records)
