"""Extraction of features from samples; training and testing of a probe use the same functions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import attrs
import numpy as np
import torch
from torch import Tensor

from didact import Experiment, FeatureEncoder, HiddenState, Network, Samples, Source, SpecError, View, collate
from didact.machine.devices import autocast, choose_precision
from didact.machine.distributed import World
from didact.tensors import mean_over_positions, move

POSITIONS_PER_BATCH = 4_096  # about 1 GiB in the convolutions of wav2vec 2.0's encoder, which needs the most memory
SAMPLES_PER_BLOCK = 64  # a block is the work of one process, and a batch lies within a block
READ_AHEAD = 64  # samples
ONE_PROCESS = World()


@attrs.frozen(kw_only=True, eq=False)
class Chunk:
    """Some of the requested samples, collated.

    Attributes:
        places: the B indices of these samples in the list of requested samples.
        view: unmasked view, content (B, *axes).
    """

    places: tuple[int, ...]
    view: View


def pooled(
    networks: Mapping[str, Network],
    samples: Samples,
    indices: Sequence[int],
    *,
    experiment: Experiment,
    device: torch.device,
    blocks: int | None = None,
    spread: bool = False,
    world: World = ONE_PROCESS,
) -> dict[str, Tensor]:
    """Computes one vector per sample and network: the mean over the sample's positions, padding excluded.

    Args:
        networks: networks by name; all of them use the same batches, so each sample is read once.
        samples: the samples to read from.
        indices: the N samples to read.
        experiment: the experiment, which determines the layout of the samples and the precision.
        device: the device of the networks.
        blocks: None for the backbone's output; K for the mean of the outputs of its K topmost blocks.
        spread: whether to append the standard deviation over the positions to the mean: 2·D values instead of D.
        world: the processes that share the work; all of them call this together and get all features.

    Returns:
        (N, D) or (N, 2·D) float32 on the CPU for each name; row n is sample ``indices[n]`` and does not depend on the
        other samples in its batch, up to rounding, nor on the number of processes.

    Raises:
        SpecError: the backbone has fewer blocks than ``blocks``, or a sample does not fit the encoder.
        DataError: a sample cannot be read.
    """
    parts = 2 if spread else 1
    features = {name: torch.zeros(len(indices), parts * network.backbone.width) for name, network in networks.items()}
    for chunk in chunks(samples, indices, experiment, world):
        view = move(chunk.view, device)
        places = torch.tensor(chunk.places)
        for name, network in networks.items():
            values = vectors(network, view, experiment=experiment, blocks=blocks)
            mean = mean_over_positions(values, view.padding)  # (B, D)
            if spread:
                variance = mean_over_positions((values - mean[:, None]).square(), view.padding)
                mean = torch.cat([mean, variance.sqrt()], 1)  # (B, 2·D)
            features[name][places] = mean.cpu()
    world.barrier()
    return {name: world.all_reduce(rows) for name, rows in features.items()}  # each row is 0 on all processes but one


@torch.no_grad()
def vectors(network: Network, view: View, *, experiment: Experiment, blocks: int | None = None) -> Tensor:
    """Computes a network's features of every position, without extra tokens.

    Args:
        network: the network, which is set to evaluation mode.
        view: unmasked view on the network's device.
        experiment: the experiment, which determines the precision.
        blocks: as for `pooled`.

    Returns:
        (B, T, D) float32; the values at padding are meaningless.
    """
    depth = len(network.backbone.blocks)
    if blocks is not None and blocks > depth:
        raise SpecError(
            f"the mean of the {blocks} topmost blocks is asked for, and the backbone has {depth}",
            where="blocks",
            hint=f"at most {depth}, or None for the backbone's output",
        )
    device = view.content.device
    network.eval()
    with autocast(device, choose_precision(experiment.training.precision, device)):
        tokens = network.encoder.embed(view)
        context = network.contextualize(tokens, None, HiddenState.last("block", blocks or 0, depth))
    if blocks is None:
        return context.positions_only(context.output).float()
    return context.positions_only(torch.stack([feature.float() for feature in context.hidden_states]).mean(0))


def raw(source: Source, samples: Samples, indices: Sequence[int], threads: int, world: World = ONE_PROCESS) -> Tensor:
    """Reads the source's raw features of N samples with ``threads`` threads: (N, F) float32.

    The processes of ``world`` share the work; all of them call this together and get all features.

    Raises:
        NotImplementedError: the source defines no raw features.
    """

    def read(index: int) -> Tensor:
        return source.raw_features(samples.content(index)).float()

    features = torch.zeros(len(indices), len(read(indices[0])))  # (N, F)
    for place, row in enumerate(_ahead(read, indices[world.rank :: world.size], threads)):
        features[world.rank + place * world.size] = row
    world.barrier()
    return world.all_reduce(features)


def chunks(
    samples: Samples, indices: Sequence[int], experiment: Experiment, world: World = ONE_PROCESS
) -> Iterator[Chunk]:
    """Collates samples of similar length, which limits padding and memory.

    Args:
        samples: the samples to read from.
        indices: the samples to read.
        experiment: the experiment with the encoder; ``training.num_workers`` threads read ahead.
        world: the processes that share the samples; each yields other chunks. The chunks of all processes together do
            not depend on the number of processes, so neither does the result for a sample, to the bit.
    """
    encoder = experiment.of_view(0)[0]
    order = np.argsort(samples.lengths[np.asarray(indices)], kind="stable")
    blocks = [order[first : first + SAMPLES_PER_BLOCK] for first in range(0, len(order), SAMPLES_PER_BLOCK)]
    order = np.concatenate([order[:0], *blocks[world.rank :: world.size]])
    read = _ahead(lambda place: samples.content(int(indices[place])), order, experiment.training.num_workers)
    places: list[int] = []
    contents: list[Tensor] = []
    longest = 0
    for number, (place, content) in enumerate(zip(order, read, strict=True)):
        positions = _positions(encoder, content, samples, int(indices[place]))
        longest = max(longest, positions)
        full = (len(contents) + 1) * longest > POSITIONS_PER_BATCH
        if contents and (full or number % SAMPLES_PER_BLOCK == 0):
            yield Chunk(places=tuple(places), view=collate(contents, encoder))
            places, contents, longest = [], [], positions
        places.append(int(place))
        contents.append(content)
    if contents:
        yield Chunk(places=tuple(places), view=collate(contents, encoder))


def _positions(encoder: FeatureEncoder, content: Tensor, samples: Samples, index: int) -> int:
    try:
        return encoder.layout(tuple(content.shape)).positions
    except SpecError as error:
        raise error.at(samples.name(index)) from None


def _ahead(read: Callable[[int], Tensor], items: Iterable[int], threads: int) -> Iterator[Tensor]:
    """Reads items in order and ahead of use; decoding releases the GIL, so it overlaps with computation."""
    waiting: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for item in items:
            waiting.append(pool.submit(read, int(item)))
            if len(waiting) > READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
