"""How commands reach a queue that hosts serve, and how they say that they do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from daskqueue.connecting import connect
from daskqueue.errors import DaskQueueError
from daskqueue.pool import QueuePool

# What is not shown on a terminal goes to a file or a pipe, where nobody wants lines to be cut.
_WIDE = 220

Name = Annotated[
    str | None,
    typer.Option("--name", envvar="DASKQUEUE_NAME", help="The queue's name, such as that of its DaskQueue."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        envvar="DASKQUEUE_SCHEDULER",
        help="Address of its Dask scheduler, as tcp://HOST:PORT; in a pod of its namespace it is found.",
    ),
]
Timeout = Annotated[str, typer.Option("--timeout", help="How long to try to reach it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@contextmanager
def reached(name: str | None, scheduler: str | None, timeout: str) -> Iterator[QueuePool]:
    """Connect to a queue; end the command with a sentence where that, or what is done with it, fails."""
    try:
        with connect(name, scheduler, timeout=timeout) as pool:
            yield pool
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except DaskQueueError as error:
        typer.echo(f"daskqueue: {error}", err=True)
        raise typer.Exit(1) from error


def console() -> Console:
    """Return where tables are printed."""
    made = Console(highlight=False, soft_wrap=False)
    return made if made.is_terminal else Console(highlight=False, width=_WIDE)


def table(*columns: str) -> Table:
    """Return an empty table; a column whose name ends in ``#`` holds numbers."""
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        name = column.removesuffix("#")
        made.add_column(name, justify="left" if name == column else "right", overflow="fold")
    return made
