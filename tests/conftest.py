"""What all tests share: hypothesis profiles, and clusters of real worker processes."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import dask
import pytest
from clusters import QUIET, Cluster
from gates import Gate
from hypothesis import settings

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=500, deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")

ON_A_CLUSTER = Path(__file__).parent / "e2e"


def pytest_ignore_collect(collection_path, config):
    """Leave out the tests that need a Kubernetes, unless they are named: `pytest tests/e2e`."""
    named = any("e2e" in Path(argument.split("::")[0]).parts for argument in config.args)
    return True if collection_path == ON_A_CLUSTER and not named else None


@pytest.fixture(scope="session", autouse=True)
def quiet_dask():
    """Dask without profiler, ticks and monitors; what they would add is noise."""
    with dask.config.set(QUIET):
        yield


@pytest.fixture(scope="session")
def cluster():
    """Two workers with one thread each, for every test that leaves them alive."""
    with Cluster(n_workers=2, threads_per_worker=1) as shared:
        yield shared


@pytest.fixture
def client(cluster):
    """A client of the shared cluster that talks to the workers directly."""
    with cluster.connect() as connected:
        yield connected


@pytest.fixture(scope="module")
def fragile_cluster():
    """A cluster of this module's own; its workers may be killed, and are started again by their nannies."""
    with Cluster(n_workers=2, threads_per_worker=1) as own:
        yield own


@pytest.fixture
def fragile_client(fragile_cluster):
    """A client of the module's own cluster, with all workers up."""
    with fragile_cluster.connect() as connected:
        connected.wait_for_workers(2, timeout=30)
        yield connected


@pytest.fixture
def name():
    """A name for a pool that no other test has."""
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def gate(tmp_path):
    """Where tasks report and wait until the test lets them go on."""
    with Gate(tmp_path / "gate") as opened:
        yield opened
