"""A queue on a bench, something to show it in, and a place for real hosts."""

from __future__ import annotations

import pytest
from engine.bench import Bench
from hosts.processes import Site

from daskqueue.storage.fs import LocalFileSystem

from .exposition import Shown


@pytest.fixture
def shown():
    """An exhibit that shows nothing yet, in a registry of its own."""
    return Shown()


@pytest.fixture
def bench(tmp_path):
    """An open queue on the disk."""
    made = Bench(LocalFileSystem(), tmp_path / "queue")
    yield made.open()
    made.check()
    made.clear_away()


@pytest.fixture
def site(tmp_path, name):
    """Where a test starts its scheduler, shards and consumers; nothing runs yet."""
    made = Site(tmp_path, name)
    yield made
    made.close()
