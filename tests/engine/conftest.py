"""Engines on both file systems; every test ends with a check of the state it left behind."""

from __future__ import annotations

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
    for bench in made:
        if bench.engine is not None and bench.engine.failure is None:
            bench.check()
        bench.clear_away()


@pytest.fixture
def bench(make_bench, fs):
    """An open queue on each file system."""
    return make_bench(fs)


@pytest.fixture
def quick(make_bench):
    """An open queue in memory."""
    return make_bench(MemoryFileSystem())
