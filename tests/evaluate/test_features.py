"""Feature extraction: a sample's features do not depend on the other samples in its batch."""

import attrs
import pytest
import torch

from didact import DataError, SpecError, collate
from didact.building import build_network
from didact.machine.distributed import World
from didact.tensors import mean_over_positions
from didact_evaluate import features
from didact_evaluate.features import chunks, pooled, raw, vectors

CPU = torch.device("cpu")


def _pooled(experiment, network, indices, **options):
    opened = experiment.source.open()
    return pooled({"it": network}, opened, indices, experiment=experiment, device=CPU, **options)["it"]


@pytest.mark.parametrize("blocks", [None, 2])
def test_a_sample_has_the_same_features_alone_as_among_longer_ones(world, blocks):
    experiment = world.experiment()
    network = build_network(experiment)
    together = _pooled(experiment, network, list(range(30)), blocks=blocks)
    alone = torch.cat([_pooled(experiment, network, [index], blocks=blocks) for index in range(30)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_features_stand_in_the_order_that_was_asked_for(world):
    experiment = world.experiment()
    network = build_network(experiment)
    indices = [17, 3, 40, 3]
    asked = _pooled(experiment, network, indices)
    every = _pooled(experiment, network, list(range(60)))
    torch.testing.assert_close(asked, every[indices], atol=1e-6, rtol=1e-5)


def test_the_mean_goes_over_positions_and_not_over_extra_tokens(world):
    experiment = world.experiment()
    network = build_network(experiment).eval()
    content = experiment.source.open().content(5)
    context = network(collate([content], experiment.encoder)).backbone_output
    expected = context.output[0, 1:].mean(0)  # without the class token
    torch.testing.assert_close(_pooled(experiment, network, [5])[0], expected)


def test_blocks_are_averaged_from_the_top(world):
    experiment = world.experiment()
    network = build_network(experiment).eval()
    content = experiment.source.open().content(5)
    values, inner = (
        network.encoder.place(network.encoder.embed(collate([content], experiment.encoder)), None).features,
        [],
    )
    for block in network.backbone.blocks:  # the world's backbone, written once more
        values = values + block(values + values.mean(1, keepdim=True)).tanh()
        inner.append(values[0, 1:])
    expected = torch.stack(inner[-2:]).mean(0).mean(0)
    torch.testing.assert_close(_pooled(experiment, network, [5], blocks=2)[0], expected)


def test_networks_in_training_mode_are_judged_in_evaluation_mode(world):
    experiment = world.experiment()
    network = build_network(experiment).train()  # its dropout would make two passes differ
    assert torch.equal(_pooled(experiment, network, [1, 2]), _pooled(experiment, network, [1, 2]))


def test_several_networks_share_one_reading(world):
    experiment = world.experiment()
    opened = experiment.source.open()
    networks = {"one": build_network(experiment), "two": build_network(experiment)}
    found = pooled(networks, opened, list(range(12)), experiment=experiment, device=CPU)
    assert opened.reads == 12
    assert torch.equal(found["one"], found["two"])


def test_a_padded_batch_never_holds_more_positions_than_its_budget(world, monkeypatch):
    monkeypatch.setattr(features, "POSITIONS_PER_BATCH", 20)
    experiment = world.experiment()
    seen = []
    for chunk in chunks(experiment.source.open(), list(range(60)), experiment):
        assert chunk.view.content.shape[0] * chunk.view.layout.positions <= 20
        seen.extend(chunk.places)
    assert sorted(seen) == list(range(60))


def test_a_sample_larger_than_the_budget_goes_alone(world, monkeypatch):
    monkeypatch.setattr(features, "POSITIONS_PER_BATCH", 1)
    experiment = world.experiment()
    assert [len(chunk.places) for chunk in chunks(experiment.source.open(), [0, 1, 2], experiment)] == [1, 1, 1]


def test_more_blocks_than_there_are_is_an_error(world):
    experiment = world.experiment()
    with pytest.raises(SpecError, match="4 topmost blocks is asked for, and the backbone has 3"):
        _pooled(experiment, build_network(experiment), [0], blocks=4)


def test_a_sample_that_does_not_fit_the_encoder_is_named(world):
    experiment = world.experiment()
    opened = experiment.source.open()
    opened.content = lambda index: torch.zeros(3)
    with pytest.raises(SpecError) as caught:
        list(chunks(opened, [7], experiment))
    assert "sequence-7" in caught.value.where


def test_what_reading_finds_arrives_as_it_was_found(world):
    experiment = world.experiment()
    opened = experiment.source.open()

    def content(index):
        raise DataError("record 3 cannot be decoded", where="sequence-3")

    opened.content = content
    with pytest.raises(DataError, match="cannot be decoded"):
        list(chunks(opened, [3, 4], experiment))


def test_threads_change_nothing(world):
    experiment = world.experiment()
    network = build_network(experiment)
    threaded = attrs.evolve(experiment, training=attrs.evolve(experiment.training, num_workers=3))
    assert torch.equal(_pooled(experiment, network, list(range(60))), _pooled(threaded, network, list(range(60))))


def test_raw_features_are_the_sources_own(world):
    source = world.Sequences()
    opened = source.open()
    found = raw(source, opened, [4, 2], threads=1)
    assert torch.equal(found[1], torch.stack([opened.content(2).mean(), opened.content(2).std()]))


def test_padding_does_not_enter_a_mean_even_where_it_is_not_finite():
    values = torch.tensor([[[1.0], [3.0], [float("nan")]]])
    padding = torch.tensor([[False, False, True]])
    assert mean_over_positions(values, padding).item() == 2.0


def test_statistics_pooling_is_mean_and_deviation_over_own_positions(world):
    experiment = world.experiment()
    network = build_network(experiment)
    pooled_both = _pooled(experiment, network, list(range(30)), spread=True)
    opened = experiment.source.open()
    (chunk,) = chunks(opened, [7], experiment)
    alone = vectors(network, chunk.view, experiment=experiment)[0]  # (T, D): nothing is padded
    expected = torch.cat([alone.mean(0), alone.std(0, correction=0)])
    torch.testing.assert_close(pooled_both[7], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_chunks_of_several_processes_are_those_of_one(world, monkeypatch, size):
    """In other hands: so each sample's features are the same to the bit."""
    monkeypatch.setattr(features, "SAMPLES_PER_BLOCK", 8)
    monkeypatch.setattr(features, "POSITIONS_PER_BATCH", 30)
    experiment = world.experiment()
    opened = experiment.source.open()
    one = {chunk.places for chunk in chunks(opened, list(range(60)), experiment)}
    shares = [
        {chunk.places for chunk in chunks(opened, list(range(60)), experiment, World(rank=rank, size=size))}
        for rank in range(size)
    ]
    assert set.union(*shares) == one
    assert sum(map(len, shares)) == len(one)
    assert max(len(places) for places in one) <= 8


def test_processes_without_a_sample_yield_nothing(world):
    experiment = world.experiment()
    assert list(chunks(experiment.source.open(), [1, 2], experiment, World(rank=1, size=2))) == []
