"""Folders of other versions: older ones open for ever, newer ones are refused, and what a newer one added is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from struct import pack, pack_into
from zlib import crc32

import msgpack
import pytest
from engine.bench import BOB, Bench

from daskqueue.actors import pool_folder
from daskqueue.batch import Batch, encode_items
from daskqueue.core import encode
from daskqueue.core.facts import Cancelled
from daskqueue.engine.gaps import SKIPPED
from daskqueue.errors import BatchError, FolderError, FormatError
from daskqueue.message import Run
from daskqueue.storage import checkpoint
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.quarantine import NAME
from daskqueue.storage.segment import HEADER_BYTES

from .injected import injected

GOLDEN = Path(__file__).parents[1] / "engine" / "golden" / "v1-crash" / "default-queue-0"
LATER = 99  # the kind of a record that this version does not know


@pytest.fixture
def bench(tmp_path):
    """An open queue on the local disk."""
    made = Bench(LocalFileSystem(), tmp_path / "queue").open()
    yield made
    made.clear_away()


def tree(folder):
    """Return all files with what is in them, but for the lock, which names the last one who looked."""
    files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {path: data for path, data in files.items() if path.name != "lock"}


def newer_segment(path):
    data = bytearray(path.read_bytes())
    pack_into("<H", data, 8, 2)
    pack_into("<I", data, HEADER_BYTES - 4, crc32(data[: HEADER_BYTES - 4]))
    path.write_bytes(data)


def newer_checkpoint(path):
    data = bytearray(path.read_bytes())
    pack_into("<H", data, 8, 2)
    head = checkpoint.HEADER.size
    pack_into("<I", data, head, crc32(data[checkpoint.HEADER_BYTES :], crc32(data[:head])))
    path.write_bytes(data)


def newer_state(path):
    """Make the state inside of a checkpoint one of a later version."""
    found, _ = checkpoint.read(LocalFileSystem(), path)
    rows = msgpack.unpackb(found.payload)
    rows[0][0] = 2
    queue_id = path.read_bytes()[16:32]
    checkpoint.write(LocalFileSystem(), path, queue_id, found.position, msgpack.packb(rows))


@pytest.mark.parametrize(
    ("pattern", "make_newer"),
    [
        ("*.log", newer_segment),
        ("*.results", newer_segment),
        ("*.index", newer_checkpoint),
        ("*.index", newer_state),
    ],
    ids=["log", "results", "checkpoint", "state"],
)
@pytest.mark.parametrize("which", [min, max], ids=["oldest", "newest"])
def test_a_newer_version_is_refused_and_its_folder_left_as_it_is(bench, pattern, make_newer, which):
    bench.put("a")
    bench.ack(bench.lease())
    bench.reopen()
    bench.close()
    path = which(bench.folder.glob(pattern))
    make_newer(path)
    before = tree(bench.folder)
    with pytest.raises(FormatError) as refusal:
        bench.open(create=False)
    told = str(refusal.value)
    for words in (str(path), "version 2", "daskqueue", "1", "newer"):
        assert words in told
    assert tree(bench.folder) == before
    injected["file of a newer version"] += 1


def test_a_flipped_bit_of_a_version_is_damage_and_no_newer_version(bench, tmp_path):
    bench.put("a")
    bench.close()
    whole = tmp_path / "whole"
    shutil.copytree(bench.folder, whole)
    for name in sorted(
        path.name for path in whole.iterdir() if path.suffix in (".log", ".results", ".index")
    ):
        for bit in range(16):
            shutil.rmtree(bench.folder)
            shutil.copytree(whole, bench.folder)
            data = bytearray((whole / name).read_bytes())
            data[8 + bit // 8] ^= 1 << bit % 8
            (bench.folder / name).write_bytes(data)
            bench.open(create=False)
            assert bench.state(0) == "ready"
            assert bench.engine.reading().corrupt_records == 1
            bench.kill()
            injected["flipped bit of a version"] += 1


def test_a_newer_record_batch_is_refused_by_its_version():
    data = encode_items(["a"])
    for version in range(256):
        changed = data[:3] + bytes([version]) + data[4:]
        if version in (1, 2):
            continue
        with pytest.raises(FormatError if version > 2 else BatchError, match="version"):
            Batch.parse(changed)


def test_a_newer_record_of_a_pool_is_refused_and_a_flipped_bit_of_it_is_damage(tmp_path):
    made = pool_folder.claim(str(tmp_path), "default", 2)
    path = tmp_path / "pool.json"
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            assert pool_folder.read(str(tmp_path)) == made, f"bit {bit}: {bytes(data)!r}"
        except FolderError as error:
            assert "Write the file again" in str(error)  # noqa: PT017  most bits, but not all
        injected["flipped bit of a pool's record"] += 1
    fields = json.loads(whole) | {"format": 2}
    path.write_text(json.dumps(fields | {"checksum": pool_folder._checksum(fields)}))
    with pytest.raises(FormatError, match=r"pool\.json has format 2; this version knows 1"):
        pool_folder.read(str(tmp_path))


def test_records_of_unknown_kinds_pin_their_segments(tmp_path, caplog):
    bench = Bench(LocalFileSystem(), tmp_path / "queue", segment_bytes=1500).open()
    use(bench, "before")
    number = bench.engine._files.log.tail.segment
    for log in (bench.engine._files.log, bench.engine._files.outcomes.log):
        log.append([(LATER, [b"from a later version"])])
    result = bench.engine._files.outcomes.log.tail.segment
    bench.reopen(kill=True)
    assert f"{LATER}" in caplog.text
    for ending in ("closed", "killed"):
        use(bench, f"after it was {ending}")
        assert bench.results()
        bench.reopen(kill=ending == "killed")
    assert min(bench.folder.glob("*.log")).name == f"{number:020d}.log"
    for log, segment in ((bench.engine._files.log, number), (bench.engine._files.outcomes.log, result)):
        found = [bytes(frame.payload) for frame, _ in log.scan(segment) if frame.kind == LATER]
        assert found == [b"from a later version"]
    bench.clear_away()


def use(bench, words):
    """Let so much through the queue that segments come and go."""
    for turn in range(12):
        bench.put(*(f"{words} {turn} {n} {'x' * 30}" for n in range(20)))
        bench.drain()
        bench.let_it_work()


def test_without_unknown_records_the_same_use_leaves_no_old_segment(bench):
    bench.settings = bench.settings.__class__(segment_bytes=1500)
    bench.reopen()
    use(bench, "before")
    bench.reopen()
    assert len(list(bench.folder.glob("*.log"))) <= 4


def test_a_version_that_knows_a_record_reads_it_behind_a_checkpoint_of_one_that_did_not(bench, monkeypatch):
    bench.put("a")
    fact = msgpack.packb([0])
    bench.engine._files.log.append([(LATER, [pack("<I", len(fact)), fact])])
    bench.reopen(kill=True)
    assert bench.state(0) == "ready"
    bench.close()
    with monkeypatch.context() as later:
        later.setitem(encode._READ, LATER, (Cancelled, (lambda first: (Run(first, first + 1),),), None))
        bench.open(create=False)
        assert bench.state(0) == "settled"


@pytest.fixture
def golden(tmp_path):
    """What a version 1 left after a crash: a damaged put, a torn one, a stray segment, a large batch."""
    return Path(shutil.copytree(GOLDEN, tmp_path / GOLDEN.name))


@pytest.mark.parametrize("checkpointed", [True, False], ids=["with its checkpoint", "from the log alone"])
def test_a_golden_folder_after_a_crash_opens_with_all_that_is_whole(golden, checkpointed):
    if not checkpointed:
        (golden / "default-queue-0.index").unlink()
    bench = Bench(LocalFileSystem(), golden).open(create=False)
    try:
        assert bench.outcome(0) == ("returned", ("done", "done"))
        assert bench.outcome(4) == ("failed", "no 4")
        assert bench.engine._files.log.strays == [5]
        if not checkpointed:
            assert bench.outcome(1) == ("failed", "damaged")
            assert bench.engine.reading().corrupt_records == 1
            assert [path.name for path in (golden / NAME).iterdir()] == [f"{0:020d}.log"]
        assert bench.lease(want=1).values == {2: "large " * 20}
        bench.clock.moment += 100
        bench.expire()
        assert set(bench.drain(want=1)) == {2, 3}
        assert bench.put("new", producer=b"new".ljust(16)) == 5
    finally:
        bench.clear_away()


def test_numbers_of_a_damaged_last_put_are_not_given_again(bench):
    bench.put("a")
    first = bench.put("marked", *range(40))
    bench.kill()
    path = min(bench.folder.glob("*.log"))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"marked", b"barked"))
    bench.open(create=False)
    assert bench.put("b", producer=BOB) >= first + SKIPPED
    bench.reopen(kill=True)
    for index in (None, bench.folder / "queue.index"):
        if index is not None:
            bench.kill()
            index.unlink()
            bench.open(create=False)
        assert bench.counts["dead"] == 0, "how many were lost is not known, so nothing is made up"
        assert bench.put("c", producer=BOB) > first + SKIPPED
    injected["damaged last put"] += 1
