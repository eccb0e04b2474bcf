"""Engines on both file systems; every test ends with a check of the state it left behind."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.memory import MemoryFileSystem

from .bench import Bench


@pytest.fixture(params=["memory", "local"])
def fs(request):
    """Each file system."""
    return MemoryFileSystem() if request.param == "memory" else LocalFileSystem()


@pytest.fixture
def make_bench(tmp_path):
    """Makes benches, and clears them away."""
    made = []

    def make(fs=None, **settings):
        bench = Bench(fs, tmp_path / "queue", **settings)
        made.append(bench)
        return bench.open()

    yield make
    with ExitStack() as stack:
        for bench in made:
            stack.callback(bench.clear_away)
            stack.callback(bench.check)


@pytest.fixture
def bench(make_bench, fs):
    """An open queue on each file system."""
    return make_bench(fs)


@pytest.fixture
def quick(make_bench):
    """An open queue in memory."""
    return make_bench(MemoryFileSystem())
