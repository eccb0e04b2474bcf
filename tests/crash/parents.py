"""Processes that have a queue open and fork: players of the theatre (see ledger/theatre.py)."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
from engine.bench import BOB, Bench

from daskqueue.errors import FolderInUseError, StorageError
from daskqueue.storage.folder import FolderLock
from daskqueue.storage.fs import LocalFileSystem

SETTINGS = {"segment_bytes": 1000}
RESULTS = "answers.json"


def opened(folder, *, create=True):
    """Return a bench with a queue of some segments, acks and a dead letter."""
    bench = Bench(LocalFileSystem(), Path(folder), **SETTINGS).open(create=create)
    for turn in range(6):
        bench.put(f"{turn} {'x' * 300}")
    hand = bench.lease(3)
    bench.ack(hand, [0])
    bench.let_it_work()
    return bench


def tell(folder, answer):
    """Write an answer beside the queue's folder, at once or not at all."""
    path = Path(folder).with_name(RESULTS)
    path.with_suffix(".tmp").write_text(json.dumps(answer))
    path.with_suffix(".tmp").rename(path)


def files_of(folder):
    """Return the open files of this process that lie in a folder."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:  # the one that lists them
            continue
    return [link for link in links if link.startswith(str(folder))]


def snapshot(folder):
    """Return all files of a folder."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def fork(work):
    """Fork a child that does *work* and ends with 0 if that returns."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except Exception:  # noqa: BLE001  it must not go on as its parent
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def stay_with_a_child(folder, grandchild):
    """Open a queue, fork a child (and have it fork one) that stays, and say who they are."""
    bench = opened(folder)

    def stay():
        tell(folder, [os.getpid(), *([fork(signal.pause)] if grandchild else [])])
        signal.pause()

    fork(stay)
    bench.run(asyncio.Event().wait())


def try_everything_in_a_child(folder):
    """Have a child use all that its parent has open; say what came of each, and whether the parent goes on."""
    bench = opened(folder)
    files, fs = bench.engine._files, bench.fs
    current, lock = files.log._current, files._lock
    taken = files.take_checkpoint(bench.clock.now())
    frames = [(16, [b"by a child"])]
    attempts = {
        "read a segment": lambda: files.log.read(files.book.positions.find(1).stretch),
        "write a segment": lambda: current.append(frames),
        "append": lambda: files.log.append(frames),
        "sync": files.sync,
        "sync a segment": lambda: fs.sync(current._handle),
        "cut a segment": lambda: fs.truncate(current._handle, 0),
        "read a handle": lambda: fs.read(current._handle, 0, 10),
        "roll": lambda: files.roll(0.0),
        "checkpoint": lambda: files.write_checkpoint(taken),
        "drop": lambda: files.drop([files.log.segments[0].number]),
        "remove": lambda: files.remove_large(["00"]),
        "verify": lock.verify,
        "record": lambda: lock.record(epoch=77),
        "open again": lambda: FolderLock.take(fs, Path(folder), {"host": "a child"}),
    }

    def child(name):
        try:
            came = f"did it: {attempts[name]()!r}"
        except (StorageError, OSError) as error:
            came = type(error).__name__
        tell(folder, {"files": files_of(folder), "came": came})

    before, answers = snapshot(folder), {}
    for name in attempts:  # one after the other: the first failure ends what is left of the queue in a child
        assert os.waitpid(fork(partial(child, name)), 0)[1] == 0, name
        answers[name] = json.loads(Path(folder).with_name(RESULTS).read_text())
    Path(folder).with_name(RESULTS).unlink()
    assert snapshot(folder) == before
    _go_on(bench, folder)
    tell(folder, answers)


def _go_on(bench, folder):
    """Show that the queue is whole and still its owner's."""
    first = bench.put("after", producer=BOB)
    with pytest.raises(FolderInUseError, match="pid 1"):
        FolderLock.take(LocalFileSystem(), Path(folder), {})
    assert bench.state(0) == "settled"
    bench.engine._files.verify()
    bench = bench.reopen()
    bench.clock.moment += 100
    bench.expire()
    rest = bench.drain()
    assert sorted(rest) == [1, 2, 3, 4, 5, first], rest
    bench.clear_away()


# How a child ends


def _exit_in_order(bench):
    del bench
    atexit.register(os.write, 1, b"at exit\n")
    sys.exit(0)


def _close_everything(bench):
    bench.engine.abandon()


def _close_descriptors(bench):
    for handle in (bench.engine._files._lock._handle, bench.engine._files.log._current._handle):
        os.close(handle)


def _die(bench):
    del bench
    os.kill(os.getpid(), signal.SIGKILL)


def _raise(bench):
    raise RuntimeError(f"no use for {bench}")


ENDS = {end.__name__: end for end in (_exit_in_order, _close_everything, _close_descriptors, _die, _raise)}


def outlive(folder, end):
    """Have children end in one way; go on."""
    bench = opened(folder)
    if end == "multiprocessing":
        process = get_context("fork").Process(target=_close_everything, args=(bench,))
        process.start()
        process.join()
    elif end == "subprocess":
        subprocess.run(["/bin/true"], preexec_fn=lambda: _close_everything(bench), check=True)
    else:
        os.waitpid(fork(lambda: ENDS[end](bench)), 0)
    _go_on(bench, folder)


def fork_while_files_are_opened(folder, times):
    """Fork again and again while a thread opens and closes files; no child may have one of them."""
    bench = opened(folder)
    over = threading.Event()

    def open_and_close():
        path = Path(folder) / "lock"
        while not over.is_set():
            bench.fs.close(bench.fs.open(path))
            bench.engine._files.log._reader._readers.close()

    thread = threading.Thread(target=open_and_close)
    thread.start()
    try:
        bad = 0
        for _ in range(times):
            pid = os.fork()
            if pid == 0:
                os._exit(len(files_of(folder)))
            bad += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        over.set()
        thread.join()
    tell(folder, bad)
    _go_on(bench, folder)
