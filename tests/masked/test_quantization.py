"""wav2vec 2.0's quantised targets against transformers, and the Gumbel softmax against its definition."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from torch.nn import functional as F

from didact import BackboneOutput, Layout, Network, SpecError, StudentPass, Tokens, View
from didact_kit import NoiseSource, TinyBackbone, TinyWords, tiny_batch, tiny_network
from didact_kit.tiny import passes_batch
from didact_masked import QuantizedTargets

SMALL = QuantizedTargets(width=6, groups=2, codes=5, start=1.5, end=0.5, decay=0.9, noise=0.0, dropout=0.0)


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def pass_of(latents: Tensor) -> StudentPass:
    """A pass that holds nothing but latents (B, T, F)."""
    layout = Layout((latents.shape[1],))
    view = View(content=torch.zeros(len(latents), 1), layout=layout)
    tokens = Tokens(features=torch.zeros(*latents.shape[:2], 8), layout=layout, latents=latents)
    return StudentPass(view=view, tokens=tokens, backbone_output=BackboneOutput(output=tokens.features, tokens=tokens))


def probabilities_of(module, latents: Tensor) -> Tensor:
    """The codes' softmax at temperature 1 by hand, group by group: (B, T, G, V)."""
    logits = latents @ module.logits.weight.T + module.logits.bias
    return torch.stack([group.softmax(-1) for group in logits.split(module.spec.codes, -1)], 2)


def values_of(module, weights: Tensor) -> Tensor:
    """The projected words of weights (B, T, G, V) on the codes, group by group: (B, T, D)."""
    words = [weights[:, :, group] @ codebook for group, codebook in enumerate(module.codebooks)]
    return module.projection(torch.cat(words, -1))


# ── Evaluation ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("groups", "codes"), [(1, 4), (2, 5), (3, 2)])
def test_in_evaluation_the_values_are_transformers_quantised_and_projected_ones(theirs_like, groups, codes):
    network = tiny_network()
    spec = SMALL.evolve(groups=groups, codes=codes)
    module = spec.build(network).eval()
    theirs = theirs_like(module).eval()

    student = network(tiny_batch().views[0])
    (target,) = module(passes_batch((student,)), (student,), network)
    with torch.no_grad():
        codevectors, _ = theirs.quantizer(student.tokens.latents)
        expected = theirs.project_q(codevectors)
        choices = theirs.quantizer.weight_proj(student.tokens.latents).unflatten(-1, (groups, codes)).argmax(-1)
    torch.testing.assert_close(target.values, expected)
    assert (target.view, target.level, target.values.shape[-1]) == (0, "position", module.width)
    assert choices.flatten(0, 1).unique(dim=0).shape[0] > 1
    same_choice = (choices.flatten(0, 1)[:, None] == choices.flatten(0, 1)).all(-1)
    assert torch.equal(target.ids.flatten()[:, None] == target.ids.flatten(), same_choice)


def test_there_is_one_id_for_every_pair_of_codes():
    module = SMALL.evolve(codes=3).build(tiny_network()).eval()
    eye = torch.eye(3).repeat(2, 1)  # logits (2 · 3,) of latents that name one code for all groups …
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    with torch.no_grad():
        module.logits.weight.copy_(eye)
        found = []
        for first, second in pairs.tolist():  # … and a bias that outvotes it in the second
            module.logits.bias.zero_()
            module.logits.bias[3 + second] = 9.0
            passes = (pass_of(F.one_hot(torch.tensor([[first]]), 3).float()),)
            (target,) = module(passes_batch(passes), passes, tiny_network())
            found.append(int(target.ids))
    assert len(set(found)) == 9
    assert all(0 <= one < 9 for one in found)


def test_probabilities_are_those_without_noise_at_temperature_1():
    network = tiny_network()
    module = SMALL.evolve(noise=1.0, start=3.0).build(network).train()
    student = network(tiny_batch().views[0])
    (target,) = module(passes_batch((student,)), (student,), network)
    torch.testing.assert_close(target.probabilities, probabilities_of(module, student.tokens.latents))
    assert target.probabilities.requires_grad


def test_every_view_has_its_own_target():
    network = tiny_network()
    module = SMALL.build(network).eval()
    passes = tuple(network(view) for view in tiny_batch(views=2).views)
    targets = module(passes_batch(passes), passes, network)
    assert [target.view for target in targets] == [0, 1]
    for target, one in zip(targets, passes, strict=True):
        torch.testing.assert_close(target.values, module(passes_batch((one,)), (one,), network)[0].values)


# ── Training ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("steps", [0, 3])
def test_in_training_the_value_is_the_hard_choices_and_the_gradient_the_soft_ones(steps):
    network = tiny_network()
    module = SMALL.build(network).train()
    if steps:
        module.after_step(network, steps, 10)
    temperature = 1.5 * 0.9**steps
    latents = torch.randn(3, 7, 3, requires_grad=True)
    passes = (pass_of(latents),)
    (target,) = module(passes_batch(passes), passes, network)

    logits = (latents @ module.logits.weight.T).unflatten(-1, (2, 5))
    hard = F.one_hot(logits.argmax(-1), 5).float()
    expected = values_of(module, hard)
    torch.testing.assert_close(target.values, expected)

    weights = torch.randn_like(expected)
    through = [latents, module.logits.weight, module.logits.bias]
    found = torch.autograd.grad((target.values * weights).sum(), [*through, module.codebooks], retain_graph=True)
    soft = (logits + module.logits.bias.view(2, 5)) / temperature
    of_soft = torch.autograd.grad((values_of(module, soft.softmax(-1)) * weights).sum(), through)
    of_hard = torch.autograd.grad((expected * weights).sum(), module.codebooks)
    for mine, definition in zip(found, [*of_soft, *of_hard], strict=True):
        assert definition.abs().max() > 1e-3
        torch.testing.assert_close(mine, definition, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("noise", "temperature"), [(1.0, 2.0), (1.0, 0.5), (0.5, 2.0)])
def test_the_frequencies_of_choices_follow_the_softmax(noise, temperature):
    """Gumbel-max: whatever the temperature, with noise s a code is chosen as often as softmax(logits / s) says."""
    spec = SMALL.evolve(width=10, noise=noise, start=temperature, end=temperature)
    network = tiny_network()
    module = spec.build(network).train()
    logits = torch.tensor([[0.0, 0.3, -0.5, 1.0, 0.1], [-1.0, 0.0, 0.7, 0.2, 0.5]])
    with torch.no_grad():  # so that the values are the choices themselves
        module.logits.bias.copy_(logits.flatten())
        module.codebooks.copy_(torch.eye(5).expand(2, 5, 5))
        module.projection.weight.copy_(torch.eye(10))
        module.projection.bias.zero_()
        passes = (pass_of(torch.zeros(2, 20_000, 3)),)
        (target,) = module(passes_batch(passes), passes, network)
    choices = target.values.unflatten(-1, (2, 5)).flatten(0, 1)  # (P, G, V)
    torch.testing.assert_close(choices.amax(-1), torch.ones(40_000, 2))
    first, second = choices.argmax(-1).T
    observed = torch.bincount(5 * first + second, minlength=25)
    one, other = (logits / noise).double().softmax(-1)
    assert chisquare(observed.numpy(), (40_000 * torch.outer(one, other)).flatten().numpy()).pvalue > 0.01


def test_dropout_takes_latents_away_in_training_alone():
    network = tiny_network()
    module = SMALL.evolve(dropout=0.5).build(network)
    student = pass_of(torch.ones(1, 4_000, 3))
    plain = probabilities_of(module, student.tokens.latents)
    torch.testing.assert_close(module.eval()(passes_batch((student,)), (student,), network)[0].probabilities, plain)
    (target,) = module.train()(passes_batch((student,)), (student,), network)
    # each of the three latents is 0 or 2, so there are eight different outcomes, equally frequent
    outcomes, counts = target.probabilities.detach().round(decimals=5).flatten(2).unique(dim=1, return_counts=True)
    assert outcomes.shape[1] == 8
    assert chisquare(counts.numpy()).pvalue > 0.01


# ── Temperature ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_temperature_decays_with_every_step_down_to_its_end():
    network = tiny_network()
    module = QuantizedTargets(start=2.0, end=0.5, decay=0.5).build(network)
    assert float(module.temperature) == 2.0
    for step, expected in ((1, 1.0), (2, 0.5), (3, 0.5), (50, 0.5)):
        assert module.after_step(network, step, 100) == {"quantizer/temperature": expected}
        assert float(module.temperature) == expected


def test_the_released_temperature_is_at_its_end_after_277_thousand_steps():
    spec = QuantizedTargets()
    assert spec.temperature(100_000) == pytest.approx(2 * 0.999995**100_000)
    assert spec.temperature(277_000) > 0.5 == spec.temperature(278_000)


def test_a_resumed_quantizer_is_as_cool_as_it_was():
    network = tiny_network()
    first, second = SMALL.build(network), SMALL.build(network)
    first.after_step(network, 4, 10)
    assert "temperature" in first.state_dict()
    second.load_state_dict(first.state_dict())
    assert float(second.temperature) == pytest.approx(1.5 * 0.9**4)


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"groups": 0}, "groups"),
        ({"width": 0}, "width"),
        ({"width": 7, "groups": 2}, "width"),
        ({"codes": 1}, "codes"),
        ({"start": 0.0}, "start"),
        ({"end": 0.0}, "end"),
        ({"start": 0.4}, "end"),
        ({"decay": 0.0}, "decay"),
        ({"decay": 1.1}, "decay"),
        ({"noise": -0.1}, "noise"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_fields_that_make_no_sense_are_refused_by_their_name(fields, named):
    with pytest.raises(SpecError, match=rf"QuantizedTargets\.{named} must be"):
        QuantizedTargets(**fields)


def test_an_encoder_without_latents_is_refused_with_a_mend():
    source = NoiseSource(kind="tokens", axes=(12,), vocabulary=11)
    encoder = TinyWords().build(source.signal())
    network = Network(encoder, TinyBackbone().build(8, None), source.signal(), None)
    with pytest.raises(SpecError, match="quantises the encoder's latents") as caught:
        SMALL.build(network)
    assert "ConvWaveform" in caught.value.hint
