"""A client that owns its pool: queues and consumers are actors that it has made on the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from distributed import Client as DaskClient

from daskqueue import ConsumerPool, QueuePool

from .client import PATIENCE_SECONDS, Client

QUEUES, CONSUMERS = 2, 2


@contextmanager
def owned(name: str, address: str, folder: str) -> Iterator[QueuePool]:
    """Yield the pool in *folder* with consumers at work, on whatever workers are there."""
    with DaskClient(
        address, timeout=PATIENCE_SECONDS, direct_to_workers=True, set_as_default=False
    ) as client:
        client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
        pool = QueuePool(
            client, n_queues=QUEUES, durability="durable", dirpath=folder, name=name, max_deliveries=1_000_000
        )
        consumers = ConsumerPool(client, pool, n_consumers=CONSUMERS, batch_size=10)
        consumers.start()
        yield pool
        consumers.cancel()


class Owner(Client):
    """Does what every client does, with a pool of its own."""

    def __init__(self, name: str, address: str, ledgers: str, who: str, seed: str, folder: str) -> None:
        super().__init__(name, address, ledgers, who, seed)
        self._folder = folder

    def _opened(self) -> AbstractContextManager[QueuePool]:
        return owned(*self._pool, self._folder)
