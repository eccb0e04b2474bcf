"""A pool on a Dask cluster: queues and consumers are actors, and end with their workers and with their client."""

from __future__ import annotations

from .play import CURTAIN_SECONDS, EVERYTHING, NAME, Play
from .role import Role
from .theatre import Player

WORKERS = 3


class PoolPlay(Play):
    """Workers are killed, and the client that owns the pool, and now and then everything at once."""

    SCENES = {("worker",): 6, ("worker", "worker"): 2, ("client",): 3, EVERYTHING: 1}  # noqa: RUF012

    def _fill_the_stage(self) -> None:
        self._stage = [Role("scheduler", lambda _: self._start("scheduler", self._port))]
        self._stage += [Role("worker", lambda _, n=number: self._worker(n)) for number in range(WORKERS)]
        self._stage += [Role("client", lambda _: self._client("owner", 0, self._pool))]

    def _curtain(self) -> Player:
        return self._start("last_owner", NAME, self._port, str(self.ledgers), CURTAIN_SECONDS, self._pool)

    @property
    def _pool(self) -> str:
        return str(self._folder / "pool")

    def _worker(self, number: int) -> Player:
        return self._start("worker", self._port, str(self.ledgers), number, who=f"-{number}")
