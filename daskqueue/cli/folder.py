"""``daskqueue verify``, ``dump``, ``replay`` and ``repair``: folders of queues, looked at without serving them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from daskqueue.errors import StorageError
from daskqueue.inspecting import telling
from daskqueue.inspecting.dumping import frames
from daskqueue.inspecting.findings import UNUSABLE
from daskqueue.inspecting.folding import replay_queue
from daskqueue.inspecting.places import QueuePlace, find
from daskqueue.inspecting.repairing import repair as repair_folder
from daskqueue.inspecting.verifying import verify as verify_folder
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.log import Position

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a pool, or of one queue of it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Index = Annotated[int | None, typer.Option("--queue", min=0, help="Only the queue of this number.")]


class Bar:
    """A bar on the terminal, for folders that take a while; nothing where there is no terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, what: str, size_bytes: int) -> None:
        """Begin another part."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=size_bytes)

    def advance(self, size_bytes: int) -> None:
        """Go on."""
        if self._task is not None:
            self._progress.advance(self._task, size_bytes)


@contextmanager
def _bar() -> Iterator[Bar]:
    out = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        yield Bar(progress)


@contextmanager
def _told() -> Iterator[None]:
    """End the command with a sentence where a folder cannot be used."""
    try:
        yield
    except StorageError as error:
        typer.echo(f"daskqueue: {error}", err=True)
        raise typer.Exit(UNUSABLE) from error


def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Say whether a folder is sound: 0 it is, 1 something is wrong but it opens, 2 it does not open."""
    with _told(), _bar() as bar:
        report = verify_folder(folder, progress=bar)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=1))
    else:
        typer.echo("\n".join(telling.report(report)))
    raise typer.Exit(report.exit_code)


def dump(
    folder: Folder,
    as_json: AsJson = False,
    payloads: Annotated[
        bool, typer.Option("--payloads", help="Say what batches hold; nothing is unpickled.")
    ] = False,
    results: Annotated[
        bool, typer.Option("--results", help="The log of the results instead of that of the messages.")
    ] = False,
    queue: Index = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="SEGMENT:OFFSET", help="Begin at this byte of this segment."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Show at most so many frames.")] = None,
) -> None:
    """Show what stands in the segments of a queue, frame by frame."""
    with _told():
        left = limit
        for place in _chosen(folder, queue):
            if not as_json:
                typer.echo(f"# {place.path}")
            suffix = ".results" if results else ".log"
            found = frames(LocalFileSystem(), place.path, suffix, _position(start), payloads=payloads)
            for shown in found:
                if left == 0:
                    return
                left = None if left is None else left - 1
                row = {"queue": place.path.name, **shown._asdict()}
                typer.echo(json.dumps(row) if as_json else telling.frame(shown))


def replay(folder: Folder, as_json: AsJson = False, queue: Index = None) -> None:
    """Fold the log of each queue, and show the state that the next opening finds; 1 if the checkpoint differs."""
    with _told(), _bar() as bar:
        told = [replay_queue(place.path, LocalFileSystem(), bar) for place in _chosen(folder, queue)]
    for state in told:
        typer.echo(json.dumps(state) if as_json else "\n".join(telling.state(state)))
    raise typer.Exit(0 if all(state["agree"] for state in told) else 1)


def repair(
    folder: Folder,
    to: Annotated[
        Path, typer.Option("--to", metavar="NEW_DIR", help="A folder that is empty, or not there.")
    ],
    as_json: AsJson = False,
) -> None:
    """Write all that is whole into a new folder, which can be served; the old one is not touched."""
    with _told(), _bar() as bar:
        repaired = repair_folder(folder, to, progress=bar)
    if as_json:
        typer.echo(json.dumps(repaired.as_dict(), indent=1))
    else:
        typer.echo("\n".join(telling.repaired(repaired)))
    raise typer.Exit(1 if repaired.left_behind else 0)


def _chosen(folder: Path, index: int | None) -> list[QueuePlace]:
    """Return the queues of a folder, or the one of this number."""
    places = find(LocalFileSystem(), folder).queues
    if index is None:
        return places
    chosen = [place for place in places if place.number == index]
    if not chosen:
        there = ", ".join(str(place.number) for place in places)
        raise typer.BadParameter(f"there is no queue {index} in {folder}; there are: {there}")
    return chosen


def _position(text: str | None) -> Position | None:
    if text is None:
        return None
    segment, _, offset = text.partition(":")
    if not segment.isdecimal() or not offset.isdecimal() or int(offset) % 8:
        raise typer.BadParameter(
            f"{text!r} is no place; write SEGMENT:OFFSET as `dump` shows it, such as 0:64"
        )
    return Position(int(segment), int(offset))
