"""``daskqueue dead``: look at dead letters, let them run again, or drop them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from daskqueue.cli.reaching import Name, Scheduler, Timeout, Yes, console, reached, table
from daskqueue.status import time_text

if TYPE_CHECKING:
    from daskqueue.looking.dead import DeadLetter

app = typer.Typer(help="Dead letters: messages that were given up and are kept.", no_args_is_help=True)

_ERROR_LENGTH = 120

Reason = Annotated[
    str | None,
    typer.Option("--reason", help="Only those that died of this, such as raised, rejected or crash_loop."),
]
Function = Annotated[
    str | None, typer.Option("--function", help="Only those whose function's name ends with this.")
]


@app.command("list")
def list_(
    name: Name = None,
    scheduler: Scheduler = None,
    reason: Reason = None,
    function: Function = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 20,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where each was raised.")] = False,
    timeout: Timeout = "30s",
) -> None:
    """Show what died, of what, and when."""
    out = console()
    with reached(name, scheduler, timeout) as pool:
        letters = pool.dead.list(limit=limit, where=_where(reason, function))
        there = pool.dead.count()
    if traceback:
        for letter in letters:
            _show(letter)
    else:
        shown = table("job", "function", "reason", "error", "attempts#", "deliveries#", "died")
        for letter in letters:
            shown.add_row(*map(escape, _row(letter)))
        out.print(shown)
    out.print(f"{len(letters):,} shown of {there:,} dead letters")


@app.command()
def count(name: Name = None, scheduler: Scheduler = None, timeout: Timeout = "30s") -> None:
    """Count dead letters by reason."""
    with reached(name, scheduler, timeout) as pool:
        reasons = pool.dead.reasons()
    shown = table("reason", "dead letters#")
    for reason, number in sorted(reasons.items()):
        shown.add_row(escape(reason), f"{number:,}")
    shown.add_row("all", f"{sum(reasons.values()):,}")
    console().print(shown)


@app.command()
def redrive(
    name: Name = None,
    scheduler: Scheduler = None,
    reason: Reason = None,
    function: Function = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Redrive at most so many.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="So many in a second.")] = None,
    timeout: Timeout = "30s",
) -> None:
    """Let dead letters run again, with all their attempts."""
    with reached(name, scheduler, timeout) as pool:
        number = pool.dead.redrive(limit=limit, rate=rate, where=_where(reason, function))
    typer.echo(f"{number:,} run again")


@app.command()
def purge(
    name: Name = None,
    scheduler: Scheduler = None,
    reason: Reason = None,
    function: Function = None,
    yes: Yes = False,
    timeout: Timeout = "30s",
) -> None:
    """Drop dead letters for ever."""
    with reached(name, scheduler, timeout) as pool:
        if not yes:
            there = pool.dead.count()
            which = "those chosen" if reason or function else "all"
            typer.confirm(f"Drop {which} of {there:,} dead letters of {pool.name!r} for ever?", abort=True)
        number = pool.dead.purge(where=_where(reason, function))
    typer.echo(f"{number:,} dropped")


def _where(reason: str | None, function: str | None) -> Callable[[DeadLetter], bool] | None:
    if reason is None and function is None:
        return None
    return lambda letter: (
        (reason is None or letter.reason == reason)
        and (function is None or letter.function.endswith(function))
    )


def _row(letter: DeadLetter) -> tuple[str, ...]:
    error = " ".join(letter.summary.split())
    shown = error if len(error) <= _ERROR_LENGTH else f"{error[:_ERROR_LENGTH]}..."
    numbers = (str(letter.attempts), str(letter.deliveries))
    return (str(letter.job.id), letter.function, letter.reason, shown, *numbers, time_text(letter.died_at))


def _show(letter: DeadLetter) -> None:
    """Print a dead letter at length; as it is, since a traceback may hold any signs."""
    job, function, reason, error, attempts, _, died = _row(letter)
    typer.echo(f"job {job}: {function}, {reason} after {attempts} attempts, {died}")
    typer.echo(letter.traceback or error or "no more is known")
    typer.echo()
