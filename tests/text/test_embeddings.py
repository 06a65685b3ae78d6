import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.data2vec.modeling_data2vec_text import Data2VecTextEmbeddings

from didact import BatchMask, Corruption, Layout, Mask, Signal, SpecError, collate
from didact_text import TokenEmbeddings, TokenMasker, TokenSpanMasker, position_ids
from didact_text.bpe import PAD

VOCABULARY, WIDTH = 60, 16
TOKENS = Signal(kind="tokens", axes=(None,), vocabulary=VOCABULARY)


@pytest.fixture
def spec():
    return TokenEmbeddings(width=WIDTH, max_tokens=40)


@pytest.fixture
def module(spec):
    torch.manual_seed(0)
    built = spec.build(TOKENS).eval()
    torch.nn.init.normal_(built.norm.weight)
    torch.nn.init.normal_(built.norm.bias)
    return built


def texts(*lengths):
    chance = torch.Generator().manual_seed(len(lengths))
    return [torch.randint(4, VOCABULARY - 1, (length,), generator=chance) for length in lengths]


def masked(contents, spec, masker, seed=0):
    generators = [torch.Generator().manual_seed(seed + n) for n in range(len(contents))]
    return collate(contents, spec, masker, generators, torch.Generator())


def placed(module, view):
    return module.place(module.embed(view), view.mask)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 1 << 30))
@settings(max_examples=50, deadline=None)
def test_positions_are_counted_like_robertas(lengths, seed):
    width = max(lengths)
    ids = torch.randint(2, VOCABULARY, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    padding = torch.arange(width) >= torch.tensor(lengths)[:, None]
    theirs = Data2VecTextEmbeddings.create_position_ids_from_input_ids(ids.masked_fill(padding, PAD), PAD)
    assert torch.equal(position_ids(padding), theirs)


def test_positions_skip_what_is_marked_as_padding_between_words(module, spec):
    """The teacher that sees masked tokens only (fairseq issue #4881) counts those alone."""
    view = collate(texts(6), spec)
    tokens = module.embed(view)
    hidden = torch.tensor([[False, True, False, True, True, False]])
    found = module.place(attrs.evolve(tokens, padding=hidden), None)
    short = collate([view.content[0][~hidden[0]]], spec)
    torch.testing.assert_close(found.features[~hidden], placed(module, short).features[0])


def test_padding_is_zero_and_changes_nothing_else(module, spec):
    contents = texts(9, 4, 6)
    found = placed(module, collate(contents, spec))
    for row, content in enumerate(contents):
        alone = placed(module, collate([content], spec))
        torch.testing.assert_close(found.features[row, : len(content)], alone.features[0])
        assert alone.padding is None
    assert torch.equal(found.features[found.padding], torch.zeros_like(found.features[found.padding]))


def test_data2vec_2_keeps_what_the_norm_makes_of_padding(module):
    spec = TokenEmbeddings(width=WIDTH, max_tokens=40, zero_padding=False)
    later = spec.build(TOKENS).eval()
    later.load_state_dict(module.state_dict())
    found = placed(later, collate(texts(9, 4), spec))
    torch.testing.assert_close(found.features[found.padding], later.norm.bias.expand(5, -1))


def test_a_hidden_token_is_the_mask_token(module, spec):
    view = masked(texts(12, 12), spec, TokenSpanMasker())
    ids = view.content.masked_fill(view.mask.hidden[:, 0], VOCABULARY - 1)
    expected = placed(module, collate(list(ids), spec))
    torch.testing.assert_close(placed(module, view).features, expected.features)


def test_a_replaced_token_is_the_word_that_was_drawn(module, spec):
    view = masked(texts(12, 12), spec, TokenMasker(probability=0.9, random=0.6, keep=0.1))
    words = 4 + view.mask.replacement[:, 0] % (VOCABULARY - 5)
    ids = torch.where(view.mask.replaced[:, 0], words, view.content)
    ids = ids.masked_fill(view.mask.hidden[:, 0], VOCABULARY - 1)
    torch.testing.assert_close(placed(module, view).features, placed(module, collate(list(ids), spec)).features)


def test_a_text_whose_words_are_replaced_is_the_same_beside_a_longer_one(module, spec):
    contents, masker = texts(15, 30), TokenMasker(probability=0.5, random=1.0, keep=0.0)
    alone, together = (placed(module, masked(some, spec, masker)).features for some in (contents[:1], contents))
    torch.testing.assert_close(together[0, :15], alone[0])


def test_the_words_that_replace_others_can_be_asked_for(module, spec):
    view = masked(texts(20, 15), spec, TokenMasker(probability=0.5, random=1.0, keep=0.0))
    words = module.replacements(view.mask)
    assert words.shape == view.mask.predicted.shape
    read = torch.where(view.mask.replaced[:, 0], words[:, 0], view.content)
    expected = module.place(module.embed(attrs.evolve(view, content=read)), None)
    torch.testing.assert_close(placed(module, view).features, expected.features)


def test_a_masker_that_replaces_nothing_has_no_words_for_it(module, spec):
    view = masked(texts(20), spec, TokenMasker(probability=0.5, random=0.0))
    assert module.replacements(view.mask) is None


def test_no_special_token_replaces_a_word(module, spec):
    view = masked(texts(40, 40), spec, TokenMasker(probability=0.9, random=1.0, keep=0.0))
    with torch.no_grad():
        module.tokens.weight[4:-1] = 0  # every word
        module.positions.weight.zero_()
    found = placed(module, view).features[view.mask.replaced[:, 0]]
    torch.testing.assert_close(found, module.norm.bias.expand_as(found))  # the norm of nothing


def test_gradients_equal_those_of_one_lookup_of_the_corrupted_ids(spec):
    torch.manual_seed(0)
    module = spec.build(TOKENS).eval()
    view = masked(texts(20, 14), spec, TokenMasker(probability=0.9, random=0.3, keep=0.2))
    weights = torch.randn(2, 20, WIDTH)
    (placed(module, view).features * weights).sum().backward()
    found = module.tokens.weight.grad
    words = 4 + view.mask.replacement[:, 0] % (VOCABULARY - 5)
    ids = torch.where(view.mask.replaced[:, 0], words, view.content).masked_fill(view.mask.hidden[:, 0], VOCABULARY - 1)
    module.zero_grad()
    tokens = module.embed(attrs.evolve(view, content=ids, mask=None))
    (module.place(tokens, None).features * weights).sum().backward()
    assert not found.is_sparse
    torch.testing.assert_close(found, module.tokens.weight.grad)
    assert float(found[PAD].abs().max()) == 0


def test_gradients_add_up_over_micro_batches(module, spec):
    views = [masked(texts(10, 10), spec, TokenMasker(), seed) for seed in (0, 10)]
    for view in views:
        placed(module, view).features.square().sum().backward()
    together = module.tokens.weight.grad.clone()
    module.zero_grad()
    sum(placed(module, view).features.square().sum() for view in views).backward()
    torch.testing.assert_close(together, module.tokens.weight.grad)


def test_dropped_positions_leave_the_others_as_they_were(module, spec):
    contents = texts(8, 5)
    dropped = [torch.zeros(2, len(content), dtype=torch.bool) for content in contents]
    dropped[0][0, 2:5] = dropped[0][1, 0] = dropped[1][0, 4] = dropped[1][1, 1:3] = True
    view = collate(contents, spec)
    whole = placed(module, view).features
    view = attrs.evolve(view, mask=BatchMask.collate([Mask.drop(rows) for rows in dropped], 8))
    found = placed(module, view)
    for row in range(4):
        sample, mask = divmod(row, 2)
        seen = (~dropped[sample][mask]).nonzero().flatten()
        held = ~found.padding[row] if found.padding is not None else slice(None)
        assert torch.equal(found.positions[row][held], seen)
        torch.testing.assert_close(found.features[row][held], whole[sample, seen])


def test_several_masks_see_one_sample_each_in_its_own_way(module, spec):
    (content,) = texts(6)
    predicted = torch.zeros(3, 6, dtype=torch.bool)
    predicted[0, 1] = predicted[1, 2] = predicted[2, 3] = True
    view = attrs.evolve(collate([content], spec), mask=BatchMask.collate([Mask.hide(predicted)], 6))
    found = placed(module, view).features
    for row in range(3):
        one = attrs.evolve(view, mask=BatchMask.collate([Mask.hide(predicted[row : row + 1])], 6))
        torch.testing.assert_close(found[row], placed(module, one).features[0])


def test_what_is_hidden_never_shows(module, spec):
    (content,) = texts(12)
    corruption = torch.zeros(1, 12, dtype=torch.uint8)
    corruption[0, 3], corruption[0, 7] = int(Corruption.HIDE), int(Corruption.REPLACE)
    mask = Mask(predicted=corruption > 0, corruption=corruption, replacement=torch.full((1, 12), 11))
    view = attrs.evolve(collate([content], spec), mask=BatchMask.collate([mask], 12))
    other = content.clone()
    other[3], other[7] = (content[3] - 3) % 50 + 4, (content[7] - 3) % 50 + 4
    changed = attrs.evolve(view, content=other[None])
    assert torch.equal(placed(module, view).features, placed(module, changed).features)


def test_initialisation_is_berts(spec):
    torch.manual_seed(0)
    module = TokenEmbeddings(width=256).build(Signal(kind="tokens", axes=(None,), vocabulary=1_000))
    for table in (module.tokens.weight.detach(), module.positions.weight.detach()):
        assert float(table.std()) == pytest.approx(0.02, rel=0.02)
        assert float(table[PAD].abs().max()) == 0
    assert module.positions.weight.shape == (514, 256)
    assert module.input_embeddings() is module.tokens.weight


def test_dropout_falls_on_the_normalised_sum(spec):
    module = TokenEmbeddings(width=WIDTH, dropout=0.4).build(TOKENS)
    found = placed(module, collate(texts(40, 40), spec)).features
    assert float((found == 0).float().mean()) == pytest.approx(0.4, abs=0.06)


def test_the_layout_is_the_sequence(spec):
    assert spec.layout((7,)) == Layout((7,))


def test_a_sample_with_too_many_tokens_is_refused_with_what_to_do(spec):
    with pytest.raises(SpecError, match=r"41 tokens is longer than TokenEmbeddings.max_tokens, 40") as caught:
        spec.layout((41,))
    assert "block_tokens" in caught.value.hint


@pytest.mark.parametrize("size", [(0,), (3, 4), ()])
def test_what_is_no_sequence_is_refused(spec, size):
    with pytest.raises(SpecError, match="sequences of ids"):
        spec.layout(size)


def test_other_signals_are_refused(spec):
    with pytest.raises(SpecError, match="reads tokens, but the source gives waveform"):
        spec.build(Signal(kind="waveform", axes=(None,), rate_hz=16_000))


@pytest.mark.parametrize("fields", [{"width": 0}, {"max_tokens": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_settings_out_of_range_are_refused(fields):
    with pytest.raises(SpecError, match="must be"):
        TokenEmbeddings(**({"width": 8} | fields))
