"""Nothing of what lies in a queue's files is unpickled by the queue, and nothing damaged reaches a consumer."""

from __future__ import annotations

import pickle
import sys
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
from engine.bench import Bench

from daskqueue.core.tally import Receipt
from daskqueue.engine import engine
from daskqueue.message import Run
from daskqueue.results import encode_results
from daskqueue.storage.fs import LocalFileSystem

from .injected import injected


@pytest.fixture
def bench(tmp_path):
    """An open queue on the local disk."""
    made = Bench(LocalFileSystem(), tmp_path / "queue").open()
    yield made
    made.clear_away()


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


LOADED = []


def _listen(event, arguments):
    if event == "pickle.find_class":
        LOADED.append(arguments)


sys.addaudithook(_listen)


@pytest.fixture
def trap(tmp_path):
    """A value that leaves a trace where it is unpickled; none must be there at the end."""
    path = tmp_path / "sprung"
    LOADED.clear()
    yield Trap(path)
    assert not path.exists()
    assert not [found for found in LOADED if found[0].startswith("pathlib")]


def whole_path(bench):
    """Do with a queue all that a queue can do; return what consumers would be given."""
    given = []
    for round_ in range(3):
        leased = bench.run(bench.engine.leases.lease("carol", "pool", round_, 10, 1 << 20))
        if leased is None:
            continue
        given += [bytes(part.data) for part in leased.slices]
        runs = [Run(part.first, part.first + part.size) for part in leased.slices]
        if round_ == 0:
            bench._soon(bench.engine.leases.release, Receipt(leased.lease, leased.epoch), runs)
        else:
            bench.run(bench.engine.leases.lose(["carol"]))
    bench.run(bench.engine.overview.peek(10, 1 << 20))
    bench.engine.overview.stats()
    bench.run(bench.engine.endings.outcomes(Run(0, 10)))
    bench.run(bench.engine.endings.page("pool", None, 1 << 20))
    bench.run(bench.engine.dead.page(0, 10, 1 << 20, whole=True))
    bench.reopen(kill=True)
    bench.run(bench.engine.dead.redrive(None, None))
    return given


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
@pytest.mark.parametrize("place", ["log", "large", "results", "failure", "fact", "tail"])
def test_what_lies_in_a_file_is_never_unpickled_by_a_queue(bench, trap, place, damaged):
    with patch.object(engine, "LARGE_BYTES", 100 if place == "large" else 1 << 20):
        plant(bench, trap, place)
    bench.kill()
    if damaged:
        flip(holder(bench, place), b"sprung" if place == "fact" else b"touch")
    bench.open(create=False)
    given = [data for data in whole_path(bench) if b"touch" in data or b"uouch" in data]
    if place in ("log", "large"):
        assert len(given) == (0 if damaged else 3), "what is damaged never reaches a consumer"
    injected["planted pickle"] += 1


def holder(bench, place):
    """Return the file that has the trap."""
    pattern = {"large": "large/*.batch", "results": "*.results"}.get(place, "*.log")
    return min(bench.folder.glob(pattern))


def flip(path, what):
    """Flip a bit of the first place in a file that reads *what*."""
    data = bytearray(path.read_bytes())
    data[data.index(what)] ^= 0x01
    path.write_bytes(data)


def plant(bench, trap, place):
    """Put the trap into a place of the queue's files."""
    if place in ("log", "large"):
        bench.put(trap, "x" * 100)
    elif place == "fact":
        pickled = pickle.dumps(trap)
        bench.put("a", producer=(b"sprung" + pickled)[:16])
        bench.lease(consumer=pickled.decode("latin1"))
    elif place == "tail":
        bench.put("a")
        bench.put(trap)
        path = holder(bench, place)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 1)
    else:
        bench.put("a")
        hand = bench.lease()
        blob, _ = encode_results([("done", trap)])
        if place == "results":
            bench._soon(bench.engine.leases.ack, hand.receipt, [Run(0, 1)], blob)
        else:
            nack = partial(bench.engine.leases.nack, final=True)
            bench._soon(nack, hand.receipt, [Run(0, 1)], blob, "raised")
