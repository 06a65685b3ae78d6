"""``didact cluster``: the centroids that an experiment's cluster targets name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import click
import numpy as np
import torch

from didact import DidactError, Experiment, SpecError, build_network, collate
from didact.errors import of_field
from didact.machine.devices import choose_device
from didact.randomness import generator, key
from didact.tensors import move
from didact_masked.clusters import ClusterTargets, read_codebook, write_codebook
from didact_masked.descriptors import DescriptorModule

BATCH = 16  # samples that are described at once
# of fairseq's learn_kmeans.py for HuBERT
FIT: dict[str, Any] = {
    "max_iter": 100,
    "batch_size": 10_000,
    "n_init": 20,
    "max_no_improvement": 100,
    "reassignment_ratio": 0.0,
}


@attrs.frozen(kw_only=True)
class Clustering:
    """What was found.

    Attributes:
        vectors: how many were clustered.
        samples: of so many samples.
        explained: share of the vectors' variance that the clusters account for.
        used: how many clusters the vectors use: the exponential of the entropy of their sizes.
    """

    vectors: int
    samples: int
    explained: float
    used: float


@click.command("cluster", short_help="Find the clusters that an experiment predicts.")
@click.argument("reference", metavar="FILE[:NAME]")
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Change a field, as for `didact run`.")
@click.option(
    "--vectors",
    default=500_000,
    show_default=True,
    type=click.IntRange(min=2),
    help="How many positions to cluster, of samples in random order. They are held in memory.",
)
@click.option("--seed", default=0, show_default=True, help="Of that order, and of where the clusters begin.")
@click.option("--replace", is_flag=True, help="Make it again where it is there.")
@click.option("--device", default="auto", show_default=True, help="That describes the samples: auto, cpu or cuda.")
def cluster_command(
    reference: str, assignments: tuple[str, ...], vectors: int, seed: int, replace: bool, device: str
) -> None:
    """Clusters the positions of the samples of the experiment in FILE by what its targets describe them by.

    The experiment's targets must be ClusterTargets. k-means in small batches (Sculley 2010), begun 20 times by
    k-means++, as HuBERT's clusters are found, and written to the file that `targets.codebook` names.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from didact.experiment_file import load_experiment

    experiment, _ = load_experiment(reference, assignments)
    spec = experiment.targets
    if not isinstance(spec, ClusterTargets):
        raise DidactError(
            f"the targets of {experiment.name} are {type(spec).__name__}, which need no clusters",
            where=reference,
            mend="name an experiment whose targets are ClusterTargets",
        )
    place = choose_device(device)
    experiment.source.prepare()
    with of_field("targets.descriptor"):
        descriptor = spec.descriptor.build(build_network(experiment)).to(place)
    if not replace and Path(spec.codebook).exists():
        with of_field("targets"):
            read_codebook(spec, descriptor.width)
        click.echo(f"{spec.codebook} is there already, for these settings; --replace makes it again")
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("positions described", total=vectors)
        found, seen = describe(
            experiment,
            descriptor,
            vectors,
            seed,
            device=place,
            told=lambda done: bar.update(task, completed=done),
        )
    click.echo(f"{len(found):,} positions of {seen:,} samples, each {found.shape[1]} numbers; finding clusters …")
    told = fit(spec, found, seen, seed)
    click.echo(
        f"{spec.codebook}: {spec.clusters} clusters explain {told.explained:.0%} of the variance, "
        f"and are used like {told.used:.0f} equal ones"
    )


def describe(
    experiment: Experiment,
    descriptor: DescriptorModule,
    vectors: int,
    seed: int,
    *,
    device: torch.device,
    told: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, int]:
    """The descriptions of positions, of whole samples in random order.

    Args:
        experiment: that names source and encoder.
        descriptor: of positions.
        vectors: how many are wanted; fewer where there are no more.
        seed: of the order.
        device: that the descriptor is on.
        told: is called with how many there are, every few samples.

    Returns:
        (P, F) float32, and of how many samples they are.
    """
    samples = experiment.source.open()
    order = torch.randperm(len(samples.lengths), generator=generator(seed, "cluster")).tolist()
    found: list[np.ndarray] = []
    count = seen = 0
    for first in range(0, len(order), BATCH):
        chosen = order[first : first + BATCH]
        view = collate([samples.content(index) for index in chosen], experiment.encoder)
        values = descriptor(move(view, device)).cpu()  # (B, T, F)
        held = torch.ones(values.shape[:2], dtype=torch.bool) if view.padding is None else ~view.padding
        for sample, real in zip(values, held, strict=True):
            found.append(sample[real][: vectors - count].numpy())
            count, seen = count + len(found[-1]), seen + 1
            if count == vectors:
                break
        told(count)
        if count == vectors:
            break
    return np.concatenate(found), seen


def fit(spec: ClusterTargets, vectors: np.ndarray, samples: int, seed: int) -> Clustering:
    """Clusters vectors (P, F) and writes the codebook.

    Raises:
        SpecError: there are fewer vectors than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    if len(vectors) < spec.clusters:
        raise SpecError(
            f"{len(vectors)} positions cannot be {spec.clusters} clusters",
            where="targets.clusters",
            mend="fewer clusters, or more samples",
        )
    means = MiniBatchKMeans(n_clusters=spec.clusters, init="k-means++", tol=0.0, random_state=key(seed) % 2**32, **FIT)
    ids = means.fit_predict(vectors)
    centroids = means.cluster_centers_.astype(np.float32)
    write_codebook(spec, centroids)
    left = float(np.square(vectors - centroids[ids]).sum())
    sizes = np.bincount(ids, minlength=spec.clusters) / len(ids)
    entropy = -float((sizes[sizes > 0] * np.log(sizes[sizes > 0])).sum())
    return Clustering(
        vectors=len(vectors),
        samples=samples,
        explained=1 - left / total if (total := float(np.square(vectors - vectors.mean(0)).sum())) else 1.0,
        used=float(np.exp(entropy)),
    )
