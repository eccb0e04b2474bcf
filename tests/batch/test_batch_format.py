"""The bytes stay what docs/batch-format.md says, and what earlier versions wrote can be read.

After a wanted change: a new version number, and
``DASKQUEUE_WRITE_GOLDEN=1 pytest tests/batch/test_batch_format.py``.
"""

from __future__ import annotations

import json
import operator
import os
import pickle
import re
from pathlib import Path
from unittest.mock import patch

import pytest

from daskqueue import buffers
from daskqueue.batch import Batch, encode_calls, encode_items
from daskqueue.functions import HEAD
from daskqueue.layout import ENTRY, HEADER
from daskqueue.message import call
from daskqueue.results import encode_results

GOLDEN = Path(__file__).parent / "golden" / "batches.json"
PAGE = (Path(__file__).parents[2] / "docs" / "batch-format.md").read_text()
COMMAND = "DASKQUEUE_WRITE_GOLDEN=1 pytest tests/batch/test_batch_format.py"

CALLS = {
    "repeat": [(operator.pos,)] * 3,
    "plain columns": [(operator.add, 1, "a"), (operator.add, 2, "b")],
    "plain rows": [(operator.add, 1), (operator.add, 2, 3)],
    "plain mixed": [(operator.add, 1), (operator.sub, 2)],
    "single": [(operator.add, 1j), (operator.add, 2)],
    "single mixed": [(operator.add, 1j), (operator.sub, 2)],
    "keywords": [call(operator.add, 1, key="a"), call(operator.add, 2)],
    "nothing": [],
}


def buffered():
    """A batch with buffers that are small enough for a golden file."""
    with patch.object(buffers, "LARGE_BUFFER_BYTES", 16):
        return encode_items([pickle.PickleBuffer(bytes(range(40))), 1j, "a"])


BATCHES = {
    **{name: encode_calls(calls) for name, calls in CALLS.items()},
    "items": encode_items([1, "a", None]),
    "results": encode_results([1, 2j])[0],
    "slice": Batch.parse(encode_calls([(operator.add, i) for i in range(5)])).slice(1, 3),
    "buffered": buffered(),
    "slice of buffered": Batch.parse(buffered()).slice(0, 2),
}


@pytest.fixture(scope="module")
def golden():
    if os.environ.get("DASKQUEUE_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps({name: blob.hex() for name, blob in BATCHES.items()}, indent=1) + "\n")
    return {name: bytes.fromhex(text) for name, text in json.loads(GOLDEN.read_text()).items()}


@pytest.mark.parametrize("name", BATCHES)
def test_encoding_still_writes_the_golden_bytes(golden, name):
    assert BATCHES[name] == golden.get(name), f"the format has changed; if that is wanted: {COMMAND}"


@pytest.mark.parametrize("name", BATCHES)
def test_golden_bytes_are_still_read(golden, name):
    batch = Batch.parse(golden[name])
    values = name in ("items", "results", "buffered", "slice of buffered")
    assert list(batch.items() if values else batch.messages()) == EXPECTED[name]


EXPECTED = {
    **{name: list(Batch.parse(BATCHES[name]).messages()) for name in CALLS},
    "items": [1, "a", None],
    "results": [1, 2j],
    "slice": [call(operator.add, 1), call(operator.add, 2)],
    "buffered": [bytes(range(40)), 1j, "a"],
    "slice of buffered": [bytes(range(40)), 1j],
}


@pytest.mark.parametrize(
    ("heading", "struct"), [("Header", HEADER), ("Function record", HEAD), ("Chunk entry", ENTRY)]
)
def test_the_pages_tables_have_the_sizes_of_the_code(heading, struct):
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [
        (int(offset), int(size))
        for offset, size in re.findall(r"^\| (\d+) \| (\d+) \|", section, re.MULTILINE)
    ]
    sizes = [size for _, size in rows]
    assert [offset for offset, _ in rows] == [sum(sizes[:i]) for i in range(len(sizes))]
    assert sum(sizes) == struct.size
    assert sizes == field_sizes(struct.format)


def field_sizes(layout):
    """Return the length of each field of a struct's format."""
    width = {"B": 1, "H": 2, "I": 4}
    return [
        int(number or 1) if code in "sx" else width[code]
        for number, code in re.findall(r"(\d*)([sxBHI])", layout)
    ]


def test_a_batch_can_be_read_by_the_page_alone():
    """A reader written from the tables, not with the code's structs."""
    blob = BATCHES["plain mixed"]
    number = lambda start, size: int.from_bytes(blob[start : start + size], "little")  # noqa: E731
    assert blob[:4] == b"DQB\x01"
    assert number(8, 4) == len(blob)
    assert [number(start, 4) for start in (16, 20, 24, 32)] == [2, 0, 2, 1]
    records = blob[36 : 36 + number(28, 4)]
    assert records[0] == 1
    assert records[24 : 24 + records[4]] == b"_operator:add"
    entry = 36 + number(28, 4)
    assert (blob[entry], blob[entry + 1]) == (1, 1 | 4)
    assert [number(entry + at, 4) for at in (8, 12, 16)] == [2, 0, 2]
    assert blob[entry + 24 : entry + 28] == b"\0\0\1\0"
