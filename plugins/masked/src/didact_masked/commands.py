"""``didact cluster``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from didact.errors import DidactError


@click.command("cluster", short_help="Compute the clusters that an experiment predicts.")
@click.argument("reference", metavar="FILE[:NAME]")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field, as for `didact run`. Repeatable.",
)
@click.option(
    "--vectors",
    default=500_000,
    show_default=True,
    type=click.IntRange(min=2),
    help="Largest number of positions to cluster, from samples in random order. They are held in memory.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the sample order and of the initial clusters.")
@click.option("--replace", is_flag=True, help="Replace an existing codebook.")
@click.option("--device", default="auto", show_default=True, help="Device for the features: auto, cpu or cuda.")
def cluster_command(
    reference: str, assignments: tuple[str, ...], vectors: int, seed: int, replace: bool, device: str
) -> None:
    """Compute the clusters that the experiment in FILE predicts, and write them to its `targets.codebook`.

    The experiment's targets must be ClusterTargets. The target features of the positions are clustered as in HuBERT, by
    mini-batch k-means (Sculley 2010) with 20 initialisations by k-means++.
    """
    from didact.building import build_network
    from didact.errors import of_field
    from didact.experiment_file import load_experiment
    from didact.machine.devices import choose_device
    from didact_masked.clustering import describe, fit
    from didact_masked.clusters import ClusterTargets, read_codebook

    experiment, _ = load_experiment(reference, assignments)
    spec = experiment.targets
    if not isinstance(spec, ClusterTargets):
        raise DidactError(
            f"the targets of {experiment.name} are {type(spec).__name__}, which have no clusters",
            where=reference,
            hint="choose an experiment whose targets are ClusterTargets",
        )
    place = choose_device(device)
    experiment.source.prepare()
    with of_field("targets.feature"):
        feature = spec.feature.build(build_network(experiment)).to(place)
    if not replace and Path(spec.codebook).exists():
        with of_field("targets"):
            read_codebook(spec, feature.width)
        click.echo(f"{spec.codebook} already exists for these settings; --replace writes it again")
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("positions", total=vectors)
        found, seen = describe(
            experiment,
            feature,
            vectors,
            seed,
            device=place,
            watch=lambda done: bar.update(task, completed=done),
        )
    click.echo(f"{len(found):,} positions of {seen:,} samples, {found.shape[1]} numbers each; clustering …")
    clusters = fit(spec, found, seen, seed)
    click.echo(
        f"{spec.codebook}: {spec.clusters} clusters explain {clusters.explained:.0%} of the variance, "
        f"{clusters.used:.0f} of them are effectively used"
    )
