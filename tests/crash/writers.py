"""A process that works on a queue without end, and says what it was answered: a player of the theatre."""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

from engine.bench import Bench

from daskqueue.errors import QueueFailedError, StorageError
from daskqueue.storage.fs import LocalFileSystem

from .rig import small

SETTINGS = {"segment_bytes": 3000, "max_losses": 9}
FENCED = 3


def work(folder, number, said):
    """Put, lease, ack and look after the files until the queue fails; then end with :data:`FENCED`."""
    log = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(*words):
        os.write(log, json.dumps(words).encode() + b"\n")

    with small(3000, 8000, 3000):
        bench = Bench(LocalFileSystem(), Path(folder), **SETTINGS)
        try:
            bench.open()
            say("open", bench.engine.epoch)
            for turn in itertools.count():
                try:
                    _turn(bench, number, turn, say)
                except QueueFailedError:
                    raise
                except StorageError as error:  # such as a segment that the next owner has dropped
                    say("refused", str(error))
        except QueueFailedError as error:
            say("ended", str(error))
            bench.clear_away()
            sys.exit(FENCED)


def _turn(bench, number, turn, say):
    size = 4000 if turn % 7 == 0 else 40  # some are large enough for files of their own
    values = [f"{number}/{turn}/{step} {'x' * size}" for step in range(3)]
    first = bench.put(*values, producer=b"%16d" % number, number=turn)
    say("put", first, number, turn, size)
    hand = bench.lease(3, consumer=f"consumer {number}")
    if hand is not None:
        say("acking", sorted(hand.values))  # it may be killed before it says that it has
        bench.ack(hand)
        say("acked", sorted(hand.values))
    if turn % 5 == 0:
        bench.let_it_work()


def read(said):
    """Return what was said, line by line; a line that is not whole yet is left out."""
    path = Path(said)
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
