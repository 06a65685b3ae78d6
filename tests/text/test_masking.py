import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import Corruption, Layout, SpecError
from didact_kit import tiny_preflight
from didact_text import TokenMasker, TokenSpanMasker

KINDS = {"hidden": Corruption.HIDE, "random": Corruption.REPLACE, "kept": Corruption.NONE}


def draw(masker, positions, seed):
    return masker.sample(Layout((positions,)), generator=torch.Generator().manual_seed(seed))


def test_bert_hides_80_replaces_10_and_keeps_10_of_15_percent():
    masks = [draw(TokenMasker(), 512, seed) for seed in range(400)]
    predicted = torch.cat([mask.predicted for mask in masks])
    corruption = torch.cat([mask.corruption for mask in masks])
    assert float(predicted.float().mean()) == pytest.approx(0.15, abs=0.0005)
    share = {name: float((corruption[predicted] == int(kind)).float().mean()) for name, kind in KINDS.items()}
    assert share == pytest.approx({"hidden": 0.8, "random": 0.1, "kept": 0.1}, abs=0.008)
    assert int(corruption[~predicted].max()) == 0


def test_the_number_of_tokens_is_right_on_average_and_never_off_by_more_than_one():
    counts = torch.tensor([int(draw(TokenMasker(), 91, seed).predicted.sum()) for seed in range(2_000)])
    assert set(counts.tolist()) == {13, 14}  # 0.15 · 91 = 13.65
    assert float(counts.float().mean()) == pytest.approx(13.65, abs=0.04)


def test_every_position_is_chosen_equally_often():
    share = torch.stack([draw(TokenMasker(), 20, seed).predicted[0] for seed in range(2_000)]).float().mean(0)
    torch.testing.assert_close(share, torch.full((20,), 0.15), atol=0.035, rtol=0)


def test_the_released_code_predicts_hidden_tokens_only():
    mask = draw(TokenMasker(predict="hidden"), 512, 0)
    assert torch.equal(mask.predicted, mask.corruption == int(Corruption.HIDE))
    everything = draw(TokenMasker(), 512, 0)
    assert torch.equal(mask.corruption, everything.corruption)
    assert int(mask.predicted.sum()) < int(everything.predicted.sum())


def test_spans_cover_what_fairseq_covers():
    """The share that the reference measured, and an implementation of fairseq's lines in NumPy."""
    share = [float(draw(TokenSpanMasker(), 512, seed).predicted.float().mean()) for seed in range(2_000)]
    rng, theirs = np.random.default_rng(0), []
    for _ in range(2_000):
        count = int(0.35 * 512 / 4 + rng.random())
        starts = rng.choice(512, count, replace=False)
        covered = np.concatenate([starts + offset for offset in range(4)])
        theirs.append(len(set(covered[covered < 512])) / 512)
    assert np.mean(share) == pytest.approx(0.306, abs=0.001)
    assert np.mean(share) == pytest.approx(np.mean(theirs), abs=0.001)
    assert np.std(share) == pytest.approx(np.std(theirs), abs=0.002)


def test_spans_are_runs_of_their_length_unless_cut_or_joined():
    for seed in range(50):
        predicted = draw(TokenSpanMasker(probability=0.1, length=5), 200, seed).predicted[0].tolist()
        runs = "".join("x" if masked else " " for masked in predicted).split()
        assert all(len(run) >= 5 for run in runs[:-1])


@given(
    positions=st.integers(2, 80),
    seed=st.integers(0, 1 << 30),
    masker=st.builds(
        TokenMasker,
        probability=st.floats(0.01, 0.99),
        random=st.floats(0, 0.5),
        keep=st.floats(0, 0.4),
        predict=st.sampled_from(["all", "hidden"]),
    )
    | st.builds(TokenSpanMasker, probability=st.floats(0.01, 1.0), length=st.integers(2, 20)),
)
@settings(max_examples=300, deadline=None)
def test_something_is_predicted_and_something_is_seen(positions, seed, masker):
    mask = draw(masker, positions, seed)
    assert mask.predicted.shape == mask.corruption.shape == (1, positions)
    assert 0 < int(mask.predicted.sum()) < positions
    assert not bool(((mask.corruption != 0) & ~mask.predicted).any()) or masker.predict == "hidden"
    again = draw(masker, positions, seed)
    assert torch.equal(mask.predicted, again.predicted)
    assert torch.equal(mask.corruption, again.corruption)
    if (mask.corruption == int(Corruption.REPLACE)).any():
        assert mask.replacement.shape == (1, positions)
        assert int(mask.replacement.min()) >= 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: TokenMasker(probability=0.0),
        lambda: TokenMasker(probability=1.0),
        lambda: TokenMasker(keep=1.0),
        lambda: TokenMasker(random=0.6, keep=0.5),
        lambda: TokenMasker(random=0.5, keep=0.5, predict="hidden"),
        lambda: TokenSpanMasker(probability=0.0),
        lambda: TokenSpanMasker(probability=1.3),
        lambda: TokenSpanMasker(probability=1.0, length=1),
        lambda: TokenSpanMasker(length=0),
    ],
)
def test_settings_that_hide_everything_or_nothing_are_refused(make):
    with pytest.raises(SpecError, match="must be"):
        make()


@pytest.mark.parametrize("masker", [TokenMasker(), TokenSpanMasker()])
def test_a_single_token_cannot_be_masked(masker):
    with pytest.raises(SpecError, match="hide everything or nothing"):
        draw(masker, 1, 0)


@pytest.mark.parametrize(("positions", "severity"), [(128, "fine"), (20, "fine"), (10, "warning")])
def test_samples_too_short_to_choose_tokens_of_are_warned_of(positions, severity):
    (found,) = TokenMasker(probability=0.15).examine(tiny_preflight(Layout((positions,))))
    assert (found.severity, found.where) == (severity, "probability")
    assert f"the median sample's {positions} are chosen" in found.says


@pytest.mark.parametrize(("positions", "severity"), [(512, "fine"), (25, "fine"), (20, "warning")])
def test_samples_with_hardly_a_span_are_warned_of(positions, severity):
    (found,) = TokenSpanMasker().examine(tiny_preflight(Layout((positions,))))
    assert (found.severity, found.where) == (severity, "length")
    assert f"spans of 4 in the median sample of {positions} tokens" in found.says
