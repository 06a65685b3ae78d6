"""What didact-quickstart registers: a command, and nothing that an experiment could name."""

import click

from didact import hookimpl
from didact_quickstart.command import quickstart_command


@hookimpl
def didact_commands() -> dict[str, click.Command]:
    return {"quickstart": quickstart_command}
