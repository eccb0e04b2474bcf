"""A queue's folder with one of everything in it, and what a folder looks like from outside."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from engine.bench import BOB, Bench

from daskqueue.engine import engine
from daskqueue.message import Run, Terms
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.memory import MemoryFileSystem

BIG = "b" * 1500
NAME = "busy-queue-0"


MEMORY = Path("/queues")


def busy(parent, fs=None, name=NAME, **settings):
    """Return an open bench whose queue has messages in every state that there is."""
    bench = Bench(fs or LocalFileSystem(), parent / name, **{"max_losses": 2, **settings})
    with patch.object(engine, "LARGE_BYTES", 1024):
        bench.open()
        _settle(bench)
        bench.reopen()
        _keep(bench)
    return bench


def _settle(bench):
    """Messages that have ended: 0 to 4, and dead letters: 5 to 7."""
    bench.put("zero", "one", "two", number=100, producer=BOB)
    bench.ack(bench.lease(3))
    bench.put("cancelled")
    bench.cancel(3)
    bench.put("keyed", terms=Terms(key="kept", key_seconds=9e8))
    bench.ack(bench.lease(1))
    bench.put("raises", "loses", "raises, too")
    hand = bench.lease(3)
    bench.nack(hand, [5, 7], final=True)
    for _ in range(2):
        bench.lose("carol")
        bench.lease(3)


def _keep(bench):
    """Messages that are leased, wait, or are late: from 8 on."""
    bench.put("one of a group", "its next", "its last", terms=Terms(group="g", priority=2))
    hand = bench.lease(1)
    bench._soon(bench.engine.leases.progress, hand.receipt, 8, b"half")
    bench.put("to be cancelled", "plain", "plain, too")
    hand = bench.lease(1, consumer="dora")
    bench.cancel(*hand.values)
    bench.put("late", delay=1000.0, retries=3, terms=Terms(key="taken", timeout_seconds=5.0))
    bench.put(BIG, "beside the big one", expires=5e8)
    bench.put("last of all")
    bench.run(bench.engine.pause(True))
    bench.let_it_work()


def waiting(bench):
    """Return all messages that were put and have not ended, with their values, by sequence."""
    bench.run(bench.engine.pause(False))
    bench.clock.moment += 2000.0
    bench.expire()
    return bench.drain() | _dead(bench)


def _dead(bench):
    bench.run(bench.engine.dead.redrive([Run(0, 1 << 40)], None))
    return bench.drain()


def exported(fs, path, to):
    """Write a folder of a file system in memory to the disk."""
    for each, file in fs._files.items():
        if each.is_relative_to(path):
            target = to / each.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.data)


def copied(fs):
    """Return a copy of a file system in memory, with no file open."""
    copy = MemoryFileSystem()
    copy._folders |= fs._folders
    for path, file in fs._files.items():
        copy.close(copy.create(path))
        copy._files[path].data += file.data
    return copy


def flipped(fs, path, offset):
    """Return a copy in which a bit of a file is another one."""
    copy = copied(fs)
    copy._files[path].data[offset] ^= 1 << offset % 8
    return copy


def mangled(fs, rng):
    """Return a copy of which some parts are zeros, rubbish, gone, longer, or elsewhere."""
    copy = copied(fs)
    for _ in range(rng.choice((1, 1, 2, 4))):
        path = rng.choice(sorted(copy._files))
        data = copy._files[path].data
        start = rng.randrange(len(data)) if data else 0
        end = min(len(data), start + rng.choice((1, 8, 64, 512, 4096)))
        match rng.choice(("zeros", "rubbish", "cut", "cut out", "copied", "longer", "gone")):
            case "zeros":
                data[start:end] = bytes(end - start)
            case "rubbish":
                data[start:end] = rng.randbytes(end - start)
            case "cut":
                del data[start:]
            case "cut out":
                del data[start:end]
            case "copied":
                data[start:end] = data[: end - start]
            case "longer":
                data += rng.randbytes(rng.choice((1, 8, 100, 5000)))
            case "gone":
                del copy._files[path]
    return copy


def sequences(runs):
    """Return the sequences of runs."""
    return {sequence for first, last in (run[:2] for run in runs) for sequence in range(first, last)}


def words(report):
    """Return all that is said of a queue."""
    return "\n".join(f"{f.level}: {f.what}; {f.means}; {f.todo}" for f in report.findings)


def tree(path):
    """Return everything under a folder: names, bytes, modes and the times of the last change."""
    found = {}
    for each in sorted([path, *path.rglob("*")]):
        stat = each.stat()
        content = each.read_bytes() if each.is_file() else None
        found[str(each.relative_to(path))] = (content, stat.st_mode, stat.st_mtime_ns, stat.st_ctime_ns)
    return found


def damage(path, offset=None):
    """Flip a bit in the middle of a file on the disk, or at a byte."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if offset is None else offset] ^= 0x10
    path.write_bytes(data)


def pool_of(image, tmp_path, *names):
    """Write a pool of queues, all from the same image, to the disk; return its folder."""
    parent = tmp_path / "pool"
    parent.mkdir()
    for name in names:
        exported(image, MEMORY / NAME, parent / name)
        (parent / name / f"{NAME}.index").rename(parent / name / f"{name}.index")
    (parent / "pool.json").write_text('{"format": 1, "pool": "an id", "name": "busy", "queues": 2}')
    return parent
