"""Pools on the shared cluster, and the tasks that the tests of pools give them."""

from __future__ import annotations

import logging

import pytest

from daskqueue import ConsumerPool, QueuePool


class Maker:
    """Makes pools of one client; remembers them until the test is over."""

    def __init__(self, client, name, folder):
        self.client = client
        self.name = name
        self.folder = folder
        self._made = []

    def queues(self, n_queues=1, durable=False, **options):
        """Return a pool of queues; a durable one lies in the test's own folder."""
        if durable:
            options = {"durability": "durable", "dirpath": self.folder, **options}
        pool = QueuePool(self.client, n_queues, **{"name": self.name, **options})
        self._made.append(pool)
        return pool

    def consumers(self, queues, n_consumers=1, *, start=True, **options):
        """Return a pool of consumers, started unless the test says otherwise."""
        consumers = ConsumerPool(self.client, queues, n_consumers=n_consumers, **options)
        self._made.append(consumers)
        if start:
            consumers.start()
        return consumers

    def close(self):
        for made in reversed(self._made):
            if isinstance(made, ConsumerPool) and made.started:
                made.cancel(timeout=0.0)
        self._made.clear()


@pytest.fixture
def make(client, name, tmp_path):
    """Makes pools on the shared cluster."""
    maker = Maker(client, name, tmp_path / "queues")
    yield maker
    maker.close()


@pytest.fixture
def make_fragile(fragile_client, name, tmp_path):
    """Makes pools on this module's own cluster, whose workers may be killed."""
    maker = Maker(fragile_client, name, tmp_path / "queues")
    yield maker
    maker.close()


@pytest.fixture(params=["transient", "durable"])
def durable(request):
    """Whether the pool of the test is durable; both are tried."""
    return request.param == "durable"


@pytest.fixture
def log_lines(caplog):
    """Returns the lines that daskqueue logged so far at level INFO and above."""
    caplog.set_level(logging.INFO, logger="daskqueue")
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("daskqueue")]


def values_of(results):
    """Return all values of ``ConsumerPool.results()`` in no order."""
    return [value for found in results.values() for value in found.values()]
