"""A site of plain processes for each test."""

from __future__ import annotations

import gc
import subprocess
import warnings

import pytest

from .processes import BIN, Site


@pytest.fixture(autouse=True)
def sockets_of_cancelled_attempts():
    """Collect what Dask leaves behind when an attempt to connect to a killed scheduler is cancelled: its socket."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def site(tmp_path, name):
    """Where a test starts its scheduler, shards and consumers; nothing runs yet."""
    made = Site(tmp_path, name)
    yield made
    made.close()


@pytest.fixture
def whole_site(site):
    """A scheduler, one shard and one consumer of one slot that are ready; as attributes of the site."""
    return complete(site)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory):
    """The same, for all tests of a module that leave everything as it was."""
    made = Site(tmp_path_factory.mktemp("site"), "shared")
    yield complete(made)
    made.close()


def complete(site):
    """Start one of each."""
    site.its_scheduler, site.its_queue, site.its_consumer = site.scheduler(), site.queue(), site.consumer()
    site.its_queue.wait_ready()
    site.its_consumer.wait_ready()
    return site


@pytest.fixture
def serve(tmp_path):
    """Run ``daskqueue serve`` until it ends by itself; return its exit code and what it said."""

    def run(arguments):
        command = [BIN / "daskqueue", "serve", *map(str, arguments)]
        done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        # Messages are drawn in a box, their lines broken anywhere.
        said = " ".join((done.stdout + done.stderr).replace("\u2502", " ").split())
        return done.returncode, said

    return run
