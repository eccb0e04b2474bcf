"""What very many messages through one queue cost: disk, files, memory, re-opening; each with a bound to hold."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hosts.processes import free_port

from . import lines
from .stream import HOST
from .theatre import Player, Theatre

MODULES = ("crash.ledger.stream",)
NAME = "stream"
# Each message has an argument of so many bytes, and so many of them wait or run at most.
SIZE_BYTES = 200
BACKLOG = 200_000
RESULT_BYTES = 64 << 20
KILL_EACH_SECONDS = 15.0

SEGMENT_BYTES = 64 << 20
# The log: what waits, twice (facts about it, and what is written again further on), and segments that upkeep has
# not come to; the results: what they may take, and the segment that goes next.
DISK_BYTES = 2 * BACKLOG * SIZE_BYTES + 6 * SEGMENT_BYTES + RESULT_BYTES * 9 // 8
SEGMENTS = 8
# A process may have so much more in its memory than when it was first looked at.
MEMORY_BYTES = 200_000_000
OPEN_SECONDS = 5.0


class Look(NamedTuple):
    """What was seen at one moment."""

    seconds: float
    submitted: int
    disk_bytes: int
    segments: int
    queue_bytes: int
    consumer_bytes: int
    client_bytes: int


@dataclass
class Stream:
    """One queue with its host and a consumer, and everything that was seen of them.

    Args:
        theatre: forks them.
        folder: for the queue, ledgers and logs.
        messages: how many go through.
    """

    theatre: Theatre
    folder: Path
    messages: int
    looks: list[Look] = field(default_factory=list)
    reopened: list[float] = field(default_factory=list)
    counted: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._port, self._status_port = free_port(), free_port()
        self._ledgers = self.folder / "ledgers"
        self._ledgers.mkdir()
        self._queue_folder = self.folder / "data" / f"{NAME}-queue-0"

    def run(self) -> None:
        """Let all messages through; kill the queue's host now and then, and see how soon it is back.

        Raises:
            AssertionError: somebody ended by himself, or something is missing at the end.
        """
        began = time.monotonic()
        self._start("crash.ledger.parts:scheduler", self._port)
        queue, consumer = self._queue(), self._consumer()
        feed = self._start(
            "crash.ledger.stream:feed", NAME, self._port, str(self._ledgers), self.messages, SIZE_BYTES
        )
        tick, kill_at = threading.Event(), began + KILL_EACH_SECONDS
        while feed.ended() is None:
            tick.wait(0.5)
            self._look(time.monotonic() - began, queue, consumer, feed)
            if time.monotonic() > kill_at:
                queue, kill_at = self._lose(queue), time.monotonic() + KILL_EACH_SECONDS
        assert feed.ended() == 0, feed.said()
        (line,) = [line for line in lines.read(self._ledgers) if line.what == "counted"]
        self.counted = {**line.particulars[0], **line.particulars[1]}
        self._lose(queue)

    # Processes

    def _start(self, what: str, *args: object) -> Player:
        return self.theatre.start(what, *args, log=self.folder / f"{what.rpartition(':')[2]}.log")

    def _queue(self) -> Player:
        return self._host(
            *("queue", "--dir", self.folder / "data", "--metrics-port", self._status_port),
            *("--max-messages", BACKLOG, "--result-bytes", RESULT_BYTES, "--max-deliveries", 1000),
        )

    def _consumer(self) -> Player:
        return self._host("consumer", "--metrics-port", -1, "--batch-size", 2000)

    def _host(self, kind: str, *more: object) -> Player:
        common = ("--name", NAME, "--scheduler", f"tcp://{HOST}:{self._port}", "--host", HOST)
        return self._start("crash.ledger.stream:host", *map(str, (kind, *common, *more)))

    def _lose(self, queue: Player) -> Player:
        """Kill the queue's host; return the next one once its folder is open, and note how long that took."""
        assert queue.kill(), queue.said()
        log = self.folder / "host.log"
        known, began = log.read_text().count(" is open"), time.monotonic()
        queue = self._queue()
        while log.read_text().count(" is open") == known:
            assert queue.ended() is None, queue.said()
            threading.Event().wait(0.01)
        self.reopened.append(time.monotonic() - began)
        return queue

    def _look(self, seconds: float, *players: Player) -> None:
        files = [path.stat() for path in self._queue_folder.rglob("*") if path.is_file()]
        segments = len(list(self._queue_folder.glob("*.log")))
        told = [line.particulars[0] for line in lines.read(self._ledgers) if line.what == "submitted"]
        disk = sum(512 * stat.st_blocks for stat in files)
        memory = [_resident_bytes(player.pid) for player in players]
        self.looks.append(Look(seconds, max(told, default=0), disk, segments, *memory))


def _resident_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    return int(found[0]) << 10 if found else 0


def bounds_of(stream: Stream) -> list[tuple[str, float, float]]:
    """Return what was measured: what it is, the figure, and the largest that is allowed."""
    looks = stream.looks

    def grown(what: str) -> float:
        seen = [getattr(look, what) for look in looks if getattr(look, what)]
        return (max(seen) - seen[0]) / 1e6

    missing = stream.messages - stream.counted["acked"]
    left = sum(stream.counted[state] for state in ("ready", "delayed", "leased", "dead"))
    return [
        ("messages that are missing at the end", missing, 0),
        ("messages that wait, run or are dead at the end", left, 0),
        ("most on the disk, MB", max(look.disk_bytes for look in looks) / 1e6, DISK_BYTES / 1e6),
        ("most segments of the log", max(look.segments for look in looks), SEGMENTS),
        ("slowest opening after kill -9, backlog full, s", max(stream.reopened), OPEN_SECONDS),
        ("opening at the end, nothing waits, s", stream.reopened[-1], OPEN_SECONDS / 2),
        ("queue's memory grew by, MB", grown("queue_bytes"), MEMORY_BYTES / 1e6),
        ("consumer's memory grew by, MB", grown("consumer_bytes"), MEMORY_BYTES / 1e6),
        ("client's memory grew by, MB", grown("client_bytes"), MEMORY_BYTES / 1e6),
    ]
