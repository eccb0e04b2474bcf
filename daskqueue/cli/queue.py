"""``daskqueue queue``: look at a queue that hosts serve, and hold, empty or drain it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from daskqueue.cli.reaching import Name, Scheduler, Timeout, Yes, console, reached, table
from daskqueue.status import time_text

app = typer.Typer(help="A queue that hosts serve: look at it, hold it, empty it.", no_args_is_help=True)

STATES = ("ready", "delayed", "leased", "dead")
RATES = ("enqueued", "delivered", "acked", "retried", "dead")


@app.command()
def stats(name: Name = None, scheduler: Scheduler = None, timeout: Timeout = "30s") -> None:
    """Show how many messages each shard has, and what has become of them of late."""
    with reached(name, scheduler, timeout) as pool:
        found, called = pool.stats(), pool.name
    rates = (f"{rate}/s#" for rate in RATES)
    shown = table("shard", *(f"{state}#" for state in STATES), "bytes#", *rates, "")
    for number, numbers in enumerate(found.values()):
        shown.add_row(f"{called}-{number}", *_cells(numbers))
    shown.add_row("all", *_cells(found.total))
    console().print(shown)


@app.command()
def peek(
    name: Name = None,
    scheduler: Scheduler = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    timeout: Timeout = "30s",
) -> None:
    """Show the messages that come next; looking changes nothing."""
    with reached(name, scheduler, timeout) as pool:
        waiting = pool.peek(limit)
    shown = table("job", "function", "state", "attempts#", "priority#", "due")
    for each in waiting:
        numbers = (str(each.attempts), str(each.terms.priority))
        cells = (str(each.job.id), each.function, each.state, *numbers, time_text(each.due_at))
        shown.add_row(*map(escape, cells))
    console().print(shown)


@app.command()
def pause(name: Name = None, scheduler: Scheduler = None, timeout: Timeout = "30s") -> None:
    """Hand out nothing more, until it is resumed; what runs is finished, and messages are taken and kept."""
    with reached(name, scheduler, timeout) as pool:
        pool.pause()
    typer.echo("paused: nothing more is handed out until `daskqueue queue resume`")


@app.command()
def resume(name: Name = None, scheduler: Scheduler = None, timeout: Timeout = "30s") -> None:
    """Hand out messages again."""
    with reached(name, scheduler, timeout) as pool:
        pool.resume()
    typer.echo("resumed")


@app.command()
def purge(name: Name = None, scheduler: Scheduler = None, yes: Yes = False, timeout: Timeout = "30s") -> None:
    """Drop all messages that wait for ever; what runs is finished, dead letters stay."""
    with reached(name, scheduler, timeout) as pool:
        if not yes:
            waiting = sum(pool.stats().total["messages"].get(state, 0) for state in ("ready", "delayed"))
            typer.confirm(f"Drop {waiting:,} messages that wait in {pool.name!r} for ever?", abort=True)
        number = pool.purge()
    typer.echo(f"{number:,} dropped")


@app.command()
def drain(
    name: Name = None,
    scheduler: Scheduler = None,
    within: Annotated[str, typer.Option("--within", help="How long to wait.")] = "1h",
    timeout: Timeout = "30s",
) -> None:
    """Wait until nothing waits or runs any more."""
    with reached(name, scheduler, timeout) as pool:
        pool.drain(within)
    typer.echo("nothing waits, nothing runs")


def _cells(numbers: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{numbers['messages'].get(state, 0):,}" for state in STATES)
    yield f"{numbers['message_bytes']:,}"
    yield from (f"{numbers['rates'][rate]:.1f}" for rate in RATES)
    yield "paused" if numbers["paused"] else ""
