"""``didact ui``."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import types

import click

from didact import RunError


@click.command("ui", short_help="Open Aim's browser on tracked runs.")
@click.option("--repo", default=".", show_default=True, help="Folder that contains .aim.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 admits other machines."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=43800,
    show_default=True,
    help="Port to listen on; 0 chooses a free port.",
)
@click.option(
    "--study", help="Also print an address that shows the curves of this study by variant, averaged over seeds."
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help="Metric for --study, such as classes/linear. Repeatable.  [default: train/loss and the study's metrics]",
)
def ui_command(repo: str, host: str, port: int, study: str | None, metrics: tuple[str, ...]) -> None:
    """Open Aim's browser on a repository and keep it open until Ctrl-C.

    Aim shows killed runs as in progress. The command closes their records at the start and every minute.
    """
    from didact_aim.browsing import SECONDS_BETWEEN_SWEEPS, browser, existing, free_port, sweep
    from didact_aim.explorer import study_address, study_metrics
    from didact_aim.repository import is_remote

    if metrics and study is None:
        raise click.UsageError("--metric needs --study")
    if is_remote(repo):
        raise RunError(
            "Aim's browser opens on a folder, not on a server",
            where="--repo",
            hint="run `didact ui` on the server's machine, on its folder",
        )
    place = existing(repo)
    port = free_port(host, port)
    _ended(sweep(place))
    known = study_metrics(place, study) if study is not None else ()
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(KeyboardInterrupt), browser(place, host, port) as process:
        address = f"http://{host}:{port}"
        click.echo(f"{address} shows {place}; Ctrl-C ends it")
        if study is not None:
            click.echo(f"{study} by variant: {study_address(address, study, metrics or known)}")
        while True:
            try:
                code = process.wait(SECONDS_BETWEEN_SWEEPS)
            except subprocess.TimeoutExpired:
                _ended(sweep(place))
                continue
            raise RunError(
                f"Aim's browser ended by itself, with exit code {code}", hint="the browser's output is above"
            )


def _ended(count: int) -> None:
    if count:
        click.echo(f"{count} {'run was' if count == 1 else 'runs were'} killed; `didact resume` resumes them")


def _interrupt(number: int, frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt
