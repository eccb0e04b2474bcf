"""The suite says at its end what it has done; folders to be damaged."""

from __future__ import annotations

import logging

import pytest
from engine.bench import Bench

from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.memory import MemoryFileSystem

from .folders import MEMORY, NAME, busy, exported
from .injected import injected


def pytest_terminal_summary(terminalreporter):
    """Print the number of injected faults, by kind."""
    if not injected:
        return
    terminalreporter.section("injected faults")
    for kind, number in sorted(injected.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"{number:9,}  {kind}")
    terminalreporter.write_line(f"{injected.total():9,}  in all")


@pytest.fixture(autouse=True)
def heard(caplog):
    """What is logged is heard, whatever a cluster of another test has silenced."""
    caplog.set_level(logging.WARNING, logger="daskqueue")


@pytest.fixture(scope="session")
def image():
    """A folder in memory with one of everything, left by a process that was killed; to be copied and damaged."""
    bench = busy(MEMORY, MemoryFileSystem())
    bench.clear_away()
    return bench.fs


@pytest.fixture
def folder(image, tmp_path):
    """The same on the disk."""
    exported(image, MEMORY / NAME, tmp_path / NAME)
    return tmp_path / NAME


@pytest.fixture
def opened():
    """Opens folders, and clears them away."""
    benches = []

    def open_folder(path, fs=None):
        bench = Bench(fs or LocalFileSystem(), path, max_losses=2)
        benches.append(bench)
        return bench.open(create=False)

    yield open_folder
    for bench in benches:
        bench.clear_away()
