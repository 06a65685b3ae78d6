"""``didact ingest``: converts files to a store."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from didact.errors import SpecError
from didact_stores.ingest import SUSPECT, Ingested, Labels, Progress, ingest
from didact_stores.store import Store, rejected_files

SECONDS_BETWEEN_LINES = 5.0
REASONS_SHOWN = 5
SUSPECTS_SHOWN = 3  # names shown for each kind
ROW = re.compile(r":\d+$")  # the name of a rejected row ends with its line number
INTERRUPTED = 130  # exit code of a command that is ended by SIGINT


@click.command("ingest")
@click.argument("kind")
@click.argument("paths", nargs=-1)
@click.option("--out", required=True, metavar="STORE", help="Folder of the store, such as stores/photos.")
@click.option(
    "--manifest",
    metavar="FILE",
    help="List of the files, instead of PATHS: a .tsv or .csv with a column `path`. Every other column becomes a field "
    "(`label` is the label). fairseq's .tsv works too.",
)
@click.option(
    "--label-from",
    type=click.Choice(["folder", "pattern", "column", "none"]),
    help="Source of the labels: the folder that contains a file, the group `label` of --pattern, or a table's column "
    "(--option label=COLUMN).  [default: the one that --pattern or --option names]",
)
@click.option(
    "--pattern",
    metavar="REGEX",
    help="Regular expression that is searched for in a file's path inside the folder or tar. Its named groups become "
    "fields: "
    r"'(?P<label>\d)_(?P<speaker>[a-z]+)_'.",
)
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the medium. Repeatable.")
@click.option(
    "--num-workers",
    type=click.IntRange(0),
    help="Reader processes.  [default: all cores for more than 64 MB]",
)
@click.option("--restart", is_flag=True, help="Delete the records of an earlier ingestion in STORE first.")
def ingest_command(
    kind: str,
    paths: tuple[str, ...],
    out: str,
    manifest: str | None,
    label_from: str | None,
    pattern: str | None,
    options: tuple[str, ...],
    num_workers: int | None,
    restart: bool,
) -> None:
    """Ingest files of one KIND (images, audio, text, …) into a store.

    PATHS are folders, which are searched recursively, tars (also compressed) and single files; or --manifest lists the
    files. Broken files are skipped and listed in STORE/rejected.tsv. Suspicious but readable files, such as silent
    audio, are kept and reported. After an interruption, the same command resumes.

    \b
        didact ingest images photos/ --label-from folder --out stores/photos
        didact ingest audio digits.tar --pattern '(?P<label>\\d)_(?P<speaker>[a-z]+)_' --out stores/digits
        didact ingest text reviews.tsv --option text=1 --option label=2 --out stores/reviews
        didact ingest text corpus.jsonl.gz --option text=body --out stores/corpus
        didact ingest audio --manifest lists/train.tsv --out stores/train
    """
    if not paths and manifest is None:
        raise click.MissingParameter(param_hint="'PATHS...'", param_type="argument")
    console = Console(highlight=False)
    labels = Labels(label_from=label_from, pattern=pattern, options=_options(options))  # type: ignore[arg-type]
    with IngestionProgress(console) as watch:
        result = ingest(
            kind, paths, out, labels=labels, manifest=manifest, num_workers=num_workers, restart=restart, watch=watch
        )
    for line in report(result, out):
        console.print(line, markup=False, soft_wrap=True)
    if result.manifest is None:
        raise SystemExit(INTERRUPTED)


def report(result: Ingested, out: str) -> list[str]:
    """Yields the lines that report the result of an ingestion."""
    manifest, progress = result.manifest, result.progress
    if manifest is None:
        return [
            f"interrupted: {progress.files} of {progress.total} files are in {out}",
            "repeat the command to resume",
        ]
    if not result.fresh:
        return [f"{out} is already complete: {counted(manifest.count, 'record')} from these files; nothing to do"]
    length = "" if manifest.unit == manifest.kind else f", {manifest.total_length:,.0f} {manifest.unit}"
    records, files = counted(manifest.count, "record"), counted(manifest.files, "file")
    lines = [f"{out}: {records} of {manifest.kind}{length}, from {files}"]
    if result.skipped:
        lines.append(f"{counted(result.skipped, 'file')} of other kinds skipped")
    if manifest.rejected:
        rows = sum(bool(ROW.search(name)) for name, _ in rejected_files(out))
        each = [counted(number, noun) for number, noun in ((manifest.rejected - rows, "file"), (rows, "row")) if number]
        lines.append(f"{' and '.join(each)} could not be read: skipped and listed in {out}/rejected.tsv")
        lines += [f"  {name}: {reason}" for name, reason in itertools.islice(rejected_files(out), REASONS_SHOWN)]
    lines += suspects(Store.open(out))
    if manifest.fields:
        lines.append(f"fields: {', '.join(manifest.fields)}")
    return lines


def suspects(store: Store) -> Iterator[str]:
    """Yields a line for each kind of suspicious record, and how to exclude them."""
    if SUSPECT not in store.manifest.fields:
        return
    codes, sorts = store.column(SUSPECT)
    for number, sort in enumerate(sorts):
        found = np.flatnonzero(codes == number)
        names = [store.name(int(index)) for index in found[:SUSPECTS_SHOWN]] + ["…"] * (len(found) > SUSPECTS_SHOWN)
        are = "is" if len(found) == 1 else "are"
        yield f"{len(found):,} of {len(store):,} {are} {sort}: {', '.join(names)}"
    without = " and ".join(f"{SUSPECT} != {sort}" for sort in sorts)
    yield f'  kept; a source leaves such records out with where="{without}"'


def counted(number: int, noun: str) -> str:
    """Formats a number with its noun, such as ``1 file`` or ``3,000 files``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class IngestionProgress:
    """A progress bar on a terminal, and a plain line every few seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._last_line = time.monotonic()
        self._bar = Bar(
            TextColumn("ingesting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("ingesting", total=None, status="looking for files")

    def __enter__(self) -> IngestionProgress:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Displays the progress."""
        parts = [f"{progress.rejected} rejected"] if progress.rejected else []
        parts += [f"{progress.begun / 1e6:,.0f} MB into the next"] if progress.begun else []
        status = ", ".join(parts)
        self._bar.update(self._task, total=progress.total, completed=progress.files, status=status)
        now = time.monotonic()
        if self._bar.disable or not self.console.is_terminal:
            if now - self._last_line < SECONDS_BETWEEN_LINES:
                return
            self._last_line = now
            self.console.print(f"{progress.files}/{progress.total} files  {status}".rstrip(), markup=False)


def _options(texts: tuple[str, ...]) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SpecError(
                f"--option takes NAME=VALUE, got {text!r}", where="--option", hint="for example --option text=1"
            )
        if name in options:
            raise SpecError(f"the option {name} is given twice", where="--option", hint="leave one of them out")
        options[name] = value
    return options
