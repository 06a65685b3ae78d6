"""SIGReg against the paper's algorithms, and what it is for."""

import attrs
import numpy as np
import pytest
import torch

from didact import SpecError
from didact.machine.distributed import World
from didact_kit import TinyTeacher, tiny_preflight
from didact_kit.tiny import passes_batch
from didact_views import MLP, SIGReg, StudentProjections, TeacherProjections
from didact_views.sigreg import draw_directions, epps_pulley

FLAT = MLP(layers=1, out=6, norm="none")


def written_statistic(projections: torch.Tensor, points: int = 17, limit: float = 5.0) -> torch.Tensor:
    """Algorithm 1 of the paper, with complex numbers: the statistic of each projection (N, K)."""
    t = torch.linspace(-limit, limit, points, dtype=torch.float64)
    normal = torch.exp(-0.5 * t**2)
    empirical = torch.exp(1j * projections.double()[..., None] * t).mean(0)  # (K, S)
    error = (empirical - normal).abs().square() * normal
    return torch.trapezoid(error, t, dim=1) * len(projections)


def test_the_defaults_are_the_papers():
    assert attrs.asdict(SIGReg()) == {
        "weight": 0.05,
        "global_views": 2,
        "directions": 1_024,
        "points": 17,
        "limit": 5.0,
    }


@pytest.mark.parametrize(("points", "limit"), [(17, 5.0), (9, 3.0), (3, 1.0)])
def test_the_statistic_is_the_papers(points, limit):
    views = torch.randn(2, 40, 11) * 1.4 + 0.3
    found = epps_pulley(views, points, limit, World())
    expected = torch.stack([written_statistic(view, points, limit) for view in views])
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


def test_the_loss_is_the_papers_algorithm_with_its_gradient(network, passes_of):
    tiny = network(FLAT)
    targets = StudentProjections(gradient="flow").build(tiny)
    module = SIGReg(directions=32, weight=0.05).build(tiny, targets)
    views = [torch.randn(20, 6, requires_grad=True) for _ in range(4)]  # two global views and two local ones
    passes = passes_of(*views)
    batch = attrs.evolve(passes_batch(passes), key=7)
    terms = module(batch, passes, targets(batch, passes, tiny)).terms
    mine = torch.stack(list(terms.values())).sum() / 20

    directions = draw_directions(6, 32, 7)
    stacked = torch.stack(views)  # (V, N, P)
    centres = stacked[:2].mean(0)
    agreement = (centres - stacked).square().mean()
    regularization = torch.stack([written_statistic(view @ directions).mean() for view in views]).mean()
    written = 0.95 * agreement + 0.05 * regularization
    torch.testing.assert_close(mine, written.float())
    for found, expected in zip(
        torch.autograd.grad(mine, views, retain_graph=True), torch.autograd.grad(written, views), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_directions_have_length_1_and_follow_from_the_steps_key():
    one, again, other = (draw_directions(6, 500, key) for key in (1, 1, 2))
    torch.testing.assert_close(one.norm(dim=0), torch.ones(500))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.mean(1).abs().max() < 0.1, "they point everywhere"


def test_the_statistic_is_least_for_a_standard_normal_distribution():
    normal = torch.randn(500, 8)
    others = {
        "narrow": normal * 0.3,
        "wide": normal * 3,
        "shifted": normal + 1,
        "collapsed": torch.zeros(500, 8),
        "uniform": torch.rand(500, 8) * 12**0.5 - 3**0.5,  # mean 0 and variance 1: VICReg would see no difference
    }
    least = epps_pulley(normal[None], 17, 5.0, World()).mean()
    for name, values in others.items():
        assert epps_pulley(values[None], 17, 5.0, World()).mean() > 2 * least, name


def test_embeddings_become_standard_normal():
    """From embeddings that lie near a line, away from the origin."""
    values = torch.nn.Parameter(0.7 + 0.5 * torch.randn(256, 1) @ torch.randn(1, 4) + 0.05 * torch.randn(256, 4))
    optimizer = torch.optim.Adam([values], lr=0.1)
    for step in range(200):
        optimizer.zero_grad()
        epps_pulley((values @ draw_directions(4, 64, step))[None], 17, 5.0, World()).mean().backward()
        optimizer.step()
    covariance = torch.cov(values.detach().T)
    torch.testing.assert_close(covariance, torch.eye(4), atol=0.2, rtol=0)
    assert values.detach().mean(0).abs().max() < 0.1


def test_it_is_float32_under_autocast(network, passes_of):
    tiny = network(FLAT)
    targets = StudentProjections(gradient="flow").build(tiny)
    module = SIGReg(directions=8).build(tiny, targets)
    passes = passes_of(torch.randn(12, 6), torch.randn(12, 6))
    plain = module(passes_batch(passes), passes, ()).terms
    with torch.autocast("cpu", torch.bfloat16):
        cast = module(passes_batch(passes), passes, ()).terms
    assert all(torch.equal(plain[name], cast[name]) for name in plain)


@pytest.mark.parametrize(
    "targets", [StudentProjections(gradient="stop"), TeacherProjections(teacher=TinyTeacher())], ids=["stop", "teacher"]
)
def test_targets_that_it_would_ignore_are_refused(network, targets):
    tiny = network(FLAT)
    with pytest.raises(SpecError, match="SIGReg compares the student's projections"):
        SIGReg().build(tiny, targets.build(tiny))


def test_a_batch_of_one_and_even_points_are_refused():
    preflight = attrs.evolve(tiny_preflight(), samples_per_step=np.array([1, 8]))
    (finding,) = SIGReg().examine(preflight)
    assert finding.severity == "error"
    with pytest.raises(SpecError, match=r"SIGReg\.points must be odd"):
        SIGReg(points=16)
