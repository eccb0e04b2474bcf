"""The command ``daskqueue``."""

from __future__ import annotations

from typing import Annotated

import typer

import daskqueue
from daskqueue.cli import dead, folder, queue, serve
from daskqueue.cli.demo import demo

app = typer.Typer(
    name="daskqueue",
    help="A persistent distributed task queue built on Dask actors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo)
for look in (folder.verify, folder.dump, folder.replay, folder.repair):
    app.command()(look)
app.add_typer(serve.app, name="serve")
app.add_typer(queue.app, name="queue")
app.add_typer(dead.app, name="dead")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"daskqueue {daskqueue.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """A persistent distributed task queue built on Dask actors."""
