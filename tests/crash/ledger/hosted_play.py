"""Hosts: a scheduler, shards and consumers as processes of their own, as in Kubernetes, and clients that connect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from clusters import until
from hosts.processes import free_port

from .play import CURTAIN_SECONDS, LIVELY_SECONDS, NAME, Play
from .role import Role
from .theatre import Player
from .traps import AFTER, BEFORE, OF_CONSUMERS, OF_QUEUES

SHARDS, CONSUMERS, CLIENTS = 2, 2, 2


class HostedPlay(Play):
    """Whoever is killed, the next one has his place at once; shards have a volume each."""

    ORDERLY = frozenset({"consumer", "queue"})
    SCENES = {  # noqa: RUF012  nobody changes it
        ("client",): 4,
        ("consumer",): 5,
        ("queue",): 5,
        ("scheduler",): 1,
        ("client", "queue"): 1,
        ("consumer", "queue"): 2,
        ("queue", "queue"): 1,
        ("consumer", "consumer"): 1,
        ("scheduler", "queue", "consumer"): 1,
    }

    def _fill_the_stage(self) -> None:
        self._stage = [Role("scheduler", lambda _: self._start("scheduler", self._port))]
        self._stage += [Role("queue", self._queue(shard)) for shard in range(SHARDS)]
        self._stage += [Role("consumer", self._consumer(free_port(), n)) for n in range(CONSUMERS)]
        # As with any pool that grows, groups would move when shards come for the first time.
        until(self._all_know_each_other, LIVELY_SECONDS)
        self._stage += [
            Role("client", lambda _, n=number: self._client("client", n)) for number in range(CLIENTS)
        ]

    def _curtain(self) -> Player:
        return self._start("curtain", NAME, self._port, str(self.ledgers), CURTAIN_SECONDS)

    def _volume(self, shard: int) -> Path:
        return self._folder / f"volume-{shard}"

    def _all_know_each_other(self) -> bool:
        records = [self._volume(shard) / "pool.json" for shard in range(SHARDS)]
        return all(path.exists() and json.loads(path.read_text())["queues"] == SHARDS for path in records)

    def _queue(self, shard: int) -> Callable[[bool], Player]:
        def start(trap: bool) -> Player:
            laid = self._trap(trap, OF_QUEUES)
            place = NAME, self._port, shard, str(self._volume(shard))
            player = self._start("queue", *place, laid, who=f"-{shard}")
            player.trapped = laid is not None
            return player

        return start

    def _consumer(self, port: int, number: int) -> Callable[[bool], Player]:
        # On every second evening one consumer has child processes, which take a while to begin.
        executor = "processes" if number and self._seed % 2 else "threads"

        def start(trap: bool) -> Player:
            laid = self._trap(trap, OF_CONSUMERS)
            place = NAME, self._port, port, str(self.ledgers)
            player = self._start("consumer", *place, executor, laid, who=f"-{number}")
            player.trapped = laid is not None
            return player

        return start

    def _trap(self, trap: bool, places: tuple[str, ...]) -> list[object] | None:
        if not trap:
            return None
        calls = self._random.choice((1, 2, 5, 20, 60))
        return [self._random.choice(places), calls, self._random.choice((BEFORE, AFTER))]
