"""docs/format.md against the code, and a golden queue that every later version must open.

The golden folder of a released version is never made again: reading it is the promise.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daskqueue.batch import encode_calls
from daskqueue.clock import Clock
from daskqueue.core import encode
from daskqueue.core.tally import Receipt
from daskqueue.engine import large, records
from daskqueue.engine.engine import Engine
from daskqueue.engine.opening import open_files
from daskqueue.engine.settings import QueueSettings
from daskqueue.message import PutOptions, Run
from daskqueue.results import decode_results, describe_failure, encode_results
from daskqueue.storage.fs import LocalFileSystem

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
GOLDEN = Path(__file__).parent / "golden" / "v1" / "default-queue-0"
REGENERATE = "DASKQUEUE_REGENERATE_GOLDEN"
HINT = f"if the format changed on purpose: {REGENERATE}=1 .venv/bin/pytest {Path(__file__).name}"
OWNER = {"host": "golden", "pid": 1, "cluster": None, "key": "golden-g1", "epoch": None, "since": 0.0}


def opened(folder, thread, *, create=False):
    settings = QueueSettings()
    clock = Clock()
    files = open_files(LocalFileSystem(), folder, OWNER, settings, clock, create=create)
    return Engine(files, settings, clock, thread, on_ready=lambda: None, on_settled=lambda: None)


async def fill(folder, thread):
    """Six messages: two done, one a dead letter, one cancelled, one leased, one waiting."""
    engine = opened(folder, thread, create=True)
    await engine.put(b"p" * 16, [(0, encode_calls([(abs, -n) for n in range(6)]), PutOptions())])
    lease = await engine.leases.lease("c#1@tcp://x", "pool", 1, 3, 1 << 20)
    receipt = Receipt(lease.lease, lease.epoch)
    engine.leases.ack(receipt, [Run(0, 2)], encode_results([0, 1])[0])
    failure = encode_results([describe_failure(ValueError("golden"))])[0]
    engine.leases.nack(receipt, [Run(2, 3)], failure, "raised", final=False)
    await engine.cancel([Run(5, 6)])
    await engine.leases.lease("c#1@tcp://x", "pool", 2, 1, 1 << 20)
    await engine.close()


@pytest.fixture
def thread():
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def golden(tmp_path, thread):
    if os.environ.get(REGENERATE):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        asyncio.run(fill(GOLDEN, thread))
    assert GOLDEN.exists(), HINT
    return Path(shutil.copytree(GOLDEN, tmp_path / GOLDEN.name))


@pytest.mark.parametrize("checkpointed", [True, False], ids=["with its checkpoint", "from the log alone"])
def test_the_golden_queue_opens_with_all_that_is_in_it(golden, thread, checkpointed):
    if not checkpointed:
        (golden / "default-queue-0.index").unlink()

    async def look():
        engine = opened(golden, thread)
        assert engine.counts() == (1, 0, 1, 1), HINT
        assert engine.finished("pool") == 3
        returned, failed = await engine.endings.outcomes(Run(0, 2)), await engine.endings.outcomes(Run(2, 3))
        assert [decode_results(outcome.blob) for outcome in returned] == [[0, 1]]
        assert decode_results(failed[0].blob)[0].summary == "ValueError: golden"
        assert [outcome.state for outcome in await engine.endings.outcomes(Run(5, 6))] == ["cancelled"]
        lease = await engine.leases.lease("c#2@tcp://x", "pool", 1, 9, 1 << 20)
        assert [(part.first, part.size) for part in lease.slices] == [(4, 1)]
        await engine.close()

    asyncio.run(look())


def test_the_page_lists_every_fact_with_its_fields():
    table = PAGE[PAGE.index("### Facts") : PAGE.index("### Outcomes")]
    rows = re.findall(r"^\| (\d+) \| ([A-Z]\w+) \| ([\w, ]+?) \|", table, re.MULTILINE)
    listed = {int(kind): (name, tuple(fields.split(", "))) for kind, name, fields in rows}
    known = {kind: (fact.__name__, tuple(readers)) for kind, (fact, readers) in encode._KINDS.items()}
    assert listed == known


def test_the_page_shows_the_witness_as_it_is_written():
    table = PAGE[PAGE.index("| needs segment |") - 200 :]
    rows = re.findall(r"^\| (\d+) \| u64 \| (needs|synced) (segment|offset) \|", table, re.MULTILINE)
    assert [int(offset) for offset, *_ in rows] == [0, 8, 16, 24]
    assert struct.calcsize("<QQQQ") == records._WITNESS.size
    assert f"kind {records.OUTCOME}" in PAGE


def test_the_page_shows_a_reference_to_a_large_batch_as_it_is_written():
    table = PAGE[PAGE.index("### Large record batches") : PAGE.index("### Outcomes")]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == ["0", "4", "20"]
    reference = large.Reference("ab" * 16, 1 << 40)
    packed = reference.pack()
    assert packed == b"DQL\x01" + b"\xab" * 16 + struct.pack("<Q", 1 << 40)
    assert large.read_reference(memoryview(packed)) == reference
    assert large.read_reference(memoryview(b"DQB\x01" + packed[4:])) is None
    assert f"of {large.LARGE_BYTES >> 20} MiB or more" in table
