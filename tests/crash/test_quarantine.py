"""A damaged file is kept, whatever becomes of the queue; and what lies in one is never run."""

from __future__ import annotations

import errno
import logging
import os
from unittest.mock import patch

import pytest
from engine.bench import Bench

from daskqueue.engine import engine
from daskqueue.message import Run
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.quarantine import NAME, Quarantine

from .injected import injected

LOGGER = "daskqueue.storage.quarantine"


class LinklessFileSystem(LocalFileSystem):
    """A disk without hard links."""

    def link(self, old, new):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(old))


class FullFileSystem(LocalFileSystem):
    """A disk that has no room for another name or file in the quarantine."""

    def make_folder(self, path, mode=0o700):
        if path.name == NAME:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        super().make_folder(path, mode)


@pytest.fixture
def make(tmp_path):
    """Makes queues on the local disk."""
    made = []

    def make(fs=None, **settings):
        bench = Bench(fs or LocalFileSystem(), tmp_path / "queue", **settings)
        made.append(bench)
        return bench.open()

    yield make
    for bench in made:
        bench.clear_away()


def flip(path, what):
    """Flip a bit of the first place in a file that reads *what*."""
    data = bytearray(path.read_bytes())
    data[data.index(what)] ^= 0x01
    path.write_bytes(data)
    injected["damaged file"] += 1


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


def log_of(bench):
    return min(bench.folder.glob("*.log"))


def kept(bench):
    folder = bench.folder / NAME
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_segment_that_is_damaged_while_it_is_open_is_kept_and_told_once(make, caplog):
    bench = make()
    bench.put("marked", "too")
    bench.put("good")
    bench.reopen()
    flip(log_of(bench), b"marked")
    assert bench.lease().values == {2: "good"}
    assert bench.lease(consumer="dave") is None
    assert kept(bench) == [log_of(bench).name]
    (warning,) = warnings(caplog)
    for words in (
        str(log_of(bench)),
        "from byte",
        str(bench.folder / NAME),
        "daskqueue verify",
        "reliability.md",
    ):
        assert words in warning
    assert bench.engine.reading().quarantined_files == 1
    assert bench.engine.overview.stats()["quarantined_files"] == 1
    assert bench.engine.overview.stats()["corrupt_records"] == 1 + 2


def test_a_segment_that_is_found_damaged_at_the_opening_is_kept(make):
    bench = make()
    bench.put("marked")
    bench.put("good")
    bench.kill()
    flip(log_of(bench), b"marked")
    bench.open(create=False)
    assert kept(bench) == [log_of(bench).name]
    assert bench.outcome(0) == ("failed", "damaged")


def test_what_is_kept_outlives_the_segment_and_later_openings(make):
    bench = make(segment_bytes=2000)
    bench.put("marked")
    bench.reopen()
    flip(log_of(bench), b"marked")
    damaged = log_of(bench)
    content = damaged.read_bytes()
    for turn in range(20):
        bench.put(*(f"{turn} {n} {'x' * 40}" for n in range(20)))
        bench.drain()
        bench.let_it_work()
    assert bench.state(0) == "dead"
    assert not damaged.exists(), "its last message was moved, without what cannot be read"
    bench.reopen(kill=True)
    assert (bench.folder / NAME / damaged.name).read_bytes() == content
    assert bench.outcome(0) == ("failed", "damaged")
    assert bench.engine.reading().quarantined_files == 1


def test_a_damaged_result_is_kept_and_its_neighbours_are_found(make, caplog):
    bench = make()
    bench.put("marked")
    bench.put("good")
    hand = bench.lease()
    bench.ack(hand, [0])
    bench.ack(hand, [1])
    bench.reopen()
    flip(min(bench.folder.glob("*.results")), b"marked")
    assert bench.outcome(1) == ("returned", ("done", "good"))
    assert bench.outcome(0) is None
    assert "damaged" in bench.engine.endings.missing().reason
    assert bench.results() == {1: ("done", "good")}
    assert kept(bench) == ["00000000000000000000.results"]
    assert len(warnings(caplog)) == 1
    assert bench.engine.reading().corrupt_records == 1


def test_a_result_that_is_damaged_after_it_was_found_costs_no_other(make):
    bench = make()
    bench.put("marked", "good")
    hand = bench.lease()
    bench.ack(hand, [0])
    bench.ack(hand, [1])
    bench.let_it_work()
    flip(min(bench.folder.glob("*.results")), b"marked")
    outcomes = bench.run(bench.engine.endings.outcomes(Run(0, 2)))
    assert [outcome.runs for outcome in outcomes] == [(Run(1, 2),)]
    assert kept(bench) == ["00000000000000000000.results"]


def test_a_dead_letter_whose_failure_is_damaged_is_still_one(make):
    bench = make()
    bench.put("a", "b")
    bench.nack(bench.lease(), final=True)
    bench.reopen()
    flip(log_of(bench), b"no 1")
    assert bench.outcome(0) == ("failed", "no 0")
    assert bench.outcome(1) == ("failed", "damaged")
    rows, _ = bench.run(bench.engine.dead.page(0, 10, 1 << 20, whole=True))
    assert [(row.first, bool(row.batch), bool(row.failures)) for row in rows] == [
        (0, True, True),
        (1, True, False),
    ]
    assert kept(bench) == [log_of(bench).name]


def test_each_damaged_checkpoint_is_kept(make):
    bench = make()
    for turn in range(3):
        bench.put(f"message {turn}")
        bench.close()
        flip(bench.folder / "queue.index", b"alice")
        bench.open(create=False)
    assert kept(bench) == ["queue.index", "queue.index.1", "queue.index.2"]
    assert bench.drain() == {0: "message 0", 1: "message 1", 2: "message 2"}


def test_a_damaged_large_batch_is_kept_though_its_messages_are_dead(make):
    with patch.object(engine, "LARGE_BYTES", 100):
        bench = make()
        bench.put("marked " * 40)
        bench.put("good")
        bench.reopen()
    (large,) = (bench.folder / "large").iterdir()
    flip(large, b"marked")
    assert bench.lease().values == {1: "good"}
    assert kept(bench) == [large.name]
    bench.run(bench.engine.dead.purge(None))
    bench.let_it_work()
    assert not large.exists()
    assert kept(bench) == [large.name]


def test_a_large_batch_whose_record_is_damaged_is_kept(make):
    with patch.object(engine, "LARGE_BYTES", 100):
        bench = make()
        bench.put("large " * 40, producer=b"marked".ljust(16))
        bench.put("good")
    bench.kill()
    (large,) = (bench.folder / "large").iterdir()
    content = large.read_bytes()
    flip(log_of(bench), b"marked")
    bench.open(create=False)
    assert not large.exists()
    assert (bench.folder / NAME / large.name).read_bytes() == content


def test_without_hard_links_the_file_is_copied(make):
    bench = make(LinklessFileSystem())
    bench.put("marked")
    bench.reopen()
    flip(log_of(bench), b"marked")
    content = log_of(bench).read_bytes()
    bench.lease()
    bench.reopen()
    assert kept(bench) == [log_of(bench).name]
    assert (bench.folder / NAME / kept(bench)[0]).read_bytes() == content


def test_on_a_full_disk_the_queue_opens_all_the_same_and_says_what_to_do(make, caplog):
    bench = make(FullFileSystem())
    bench.put("marked")
    bench.put("good")
    bench.kill()
    flip(log_of(bench), b"marked")
    bench.open(create=False)
    assert bench.drain() == {1: "good"}
    (warning,) = warnings(caplog)
    assert "could not be kept" in warning
    assert "copy it elsewhere" in warning
    assert bench.engine.reading().corrupt_records > 0


def test_nothing_is_kept_by_an_owner_that_has_lost_its_folder(tmp_path, caplog):
    (tmp_path / "a.log").write_bytes(b"damaged")

    def guard():
        raise OSError(errno.EACCES, "the folder is another's by now")

    with caplog.at_level(logging.WARNING):
        quarantine = Quarantine(LocalFileSystem(), tmp_path, guard)
        quarantine.note(tmp_path / "a.log", 0, 7)
    assert not (tmp_path / NAME).exists()
    assert (quarantine.places, quarantine.files) == (1, 0)
