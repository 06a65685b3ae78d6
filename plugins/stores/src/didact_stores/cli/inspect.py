"""``didact inspect``: shows the contents of a store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from didact.errors import DataError, DidactError
from didact_stores.cli.ingest import counted
from didact_stores.ingest.ingestion import medium_of
from didact_stores.media import Medium, Record
from didact_stores.store import Store, rejected_files

HISTOGRAM_ROWS, HISTOGRAM_WIDTH = 10, 40
VALUES_SHOWN = 20
REASONS_SHOWN = 5
BARS = " ▏▎▍▌▋▊▉█"


@click.command("inspect")
@click.argument("store")
@click.option("--samples", default=5, show_default=True, type=click.IntRange(0), help="Number of samples to show.")
def inspect_command(store: str, samples: int) -> None:
    """Show the contents of STORE: counts, lengths, labels and other fields, samples, rejected files."""
    opened = Store.open(store)
    for section in (_summary, _lengths, _fields, _rejected):
        for line in section(opened):
            click.echo(line)
    for line in _samples(opened, samples):
        click.echo(line)


def _summary(store: Store) -> Iterator[str]:
    manifest = store.manifest
    files = (Path(place) / name for place, _, names in os.walk(store.path) for name in names)
    disk = sum(file.stat().st_size for file in files if file.exists())
    yield f"{store.path}"
    yield f"  kind         {manifest.kind}"
    yield f"  records      {manifest.count:,} from {counted(manifest.files, 'file')} ({manifest.rejected:,} rejected)"
    if manifest.unit != manifest.kind:
        hours = f" ({manifest.total_length / 3600:,.2f} hours)" if manifest.unit == "seconds" else ""
        yield f"  length       {manifest.total_length:,.0f} {manifest.unit}{hours}"
    yield f"  size         {_bytes(manifest.total_bytes)} of records, {_bytes(disk)} on disk"
    yield f"  fingerprint  {manifest.fingerprint}"


def _lengths(store: Store) -> Iterator[str]:
    lengths = store.lengths
    shortest, longest = float(lengths.min()), float(lengths.max())
    if shortest == longest:
        return
    yield ""
    yield f"lengths in {store.manifest.unit}"
    shares = (0, 5, 25, 50, 75, 95, 100)
    named = ("shortest", "5 %", "25 %", "median", "75 %", "95 %", "longest")
    yield "  " + "   ".join(
        f"{name} {value:.4g}" for name, value in zip(named, np.percentile(lengths, shares), strict=True)
    )
    # equal bins on a logarithmic scale if lengths span more than one order of magnitude, or one bar would hold all
    logarithmic = shortest > 0 and longest / shortest > 10
    edges = (np.geomspace if logarithmic else np.linspace)(shortest, longest, HISTOGRAM_ROWS + 1)
    edges[0], edges[-1] = shortest, longest  # rounding must not drop the ends
    counts, _ = np.histogram(lengths, bins=edges)
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        yield f"  {low:>9.4g} – {high:<9.4g} {_bar(count / counts.max()):<{HISTOGRAM_WIDTH}} {count:,}"


def _fields(store: Store) -> Iterator[str]:
    for field in store.manifest.fields:
        codes, values = store.column(field)
        counts = np.bincount(codes[codes >= 0], minlength=len(values))
        missing = int((codes < 0).sum())
        yield ""
        yield f"{field}: {counted(len(values), 'value')}" + (
            f", {counted(missing, 'record')} without" if missing else ""
        )
        width = max(len(value) for value in values[:VALUES_SHOWN])
        for value, count in zip(values[:VALUES_SHOWN], counts, strict=False):
            yield f"  {value:<{width}}  {count:,}"
        if len(values) > VALUES_SHOWN:
            yield f"  … and {len(values) - VALUES_SHOWN:,} more"


def _rejected(store: Store) -> Iterator[str]:
    rejected = list(rejected_files(store.path))
    if rejected:
        yield ""
        yield f"rejected: {counted(len(rejected), 'file')}"
        yield from (f"  {name}: {reason}" for name, reason in rejected[:REASONS_SHOWN])
        if len(rejected) > REASONS_SHOWN:
            yield f"  … and {len(rejected) - REASONS_SHOWN:,} more in {store.path / 'rejected.tsv'}"


def _samples(store: Store, count: int) -> Iterator[str]:
    try:
        medium: type[Medium] | None = medium_of(store.manifest.kind)
    except DidactError:  # without the medium's plugin, the rest of the store can still be shown
        medium = None
    places = np.linspace(0, len(store) - 1, min(count, len(store))).astype(int)
    if count:
        yield ""
        yield "samples"
    for place in places:
        stored = store.get(int(place))
        record = Record(data=stored.data, length=stored.length, name=stored.name, fields=stored.fields)
        fields = "".join(f"  {name}={value}" for name, value in stored.fields.items())
        yield f"  {_described(medium, record, store)}{fields}"


def _described(medium: type[Medium] | None, record: Record, store: Store) -> str:
    if medium is None:
        return f"{record.name}  {record.length:g} {store.manifest.unit}"
    try:
        return medium().describe(record)
    except DataError as error:
        return f"{record.name}  cannot be read: {error.what}"


def _bar(share: float) -> str:
    whole, part = divmod(round(share * HISTOGRAM_WIDTH * 8), 8)
    return "█" * whole + (BARS[part] if part else "")


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
