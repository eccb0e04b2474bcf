"""Asks the pods of a queue how they are: a short deadline, all at once, and None for those that do not answer."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from daskqueue_operator.consumer_pods import Pod

PORT = 9090
DEADLINE_SECONDS = 1.0
T = TypeVar("T")
SAMPLE = re.compile(r"^(daskqueue_\w+)(?:\{(.*)\})? (\S+)")
VERSION = re.compile(r'^daskqueue_info\{(?:[^}]*,)?version="([^"]*)"', re.MULTILINE)
STATE = re.compile(r'(?:^|,)\s*state="(\w+)"')


@dataclass(frozen=True)
class ShardReading:
    """What a shard says.

    Args:
        ready: Messages that wait.
        leased: Messages that consumers hold.
        delayed: Messages that wait for their time.
        dead: Dead letters.
        oldest_age_seconds: How long the oldest ready message has waited; None if none waits.
        enqueued: Messages that ever came in.
        acked: Messages that were ever done.
        volume_free_bytes: Room on its volume; None if it does not say.
        version: The version of daskqueue that it runs; None if it does not say.
        paused: Whether it hands out nothing because somebody said so.
    """

    ready: int
    leased: int
    delayed: int
    dead: int
    oldest_age_seconds: float | None
    enqueued: float
    acked: float
    volume_free_bytes: float | None
    version: str | None = None
    paused: bool = False

    @property
    def runnable(self) -> int:
        """Messages that a consumer would get if it were there."""
        return 0 if self.paused else self.ready


@dataclass(frozen=True)
class ConsumerReading:
    """What a consumer says.

    Args:
        slots: Tasks that it runs at a time.
        busy: Tasks that it runs now.
        held: Messages that it has and has not finished.
        draining: Whether it takes no more.
        processing_seconds: How long its tasks have taken, together.
        processed: How many of them have ended.
    """

    slots: int
    busy: int
    held: int
    draining: bool
    processing_seconds: float = 0.0
    processed: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with it."""
        return not (self.busy or self.held)


def samples(text: str) -> Iterator[tuple[str, str, float]]:
    """Yield name, state and value of each of our samples in a Prometheus exposition.

    Args:
        text: The exposition.
    """
    for line in text.splitlines():
        if line.startswith("daskqueue_") and (found := SAMPLE.match(line)):
            state = STATE.search(found[2] or "")
            try:
                yield found[1], state[1] if state else "", float(found[3])
            except ValueError:
                continue


def shard_reading(text: str) -> ShardReading | None:
    """Return what a shard's metrics say; None if they do not say how many messages there are.

    Args:
        text: What it answered to `/metrics`.
    """
    totals = _totals(text)
    if not {("daskqueue_messages", "ready"), ("daskqueue_messages", "leased")} <= totals.keys():
        return None  # a shard that is still recovering: no number is not 0
    number = {state: int(value) for (name, state), value in totals.items() if name == "daskqueue_messages"}
    return ShardReading(
        ready=number["ready"],
        leased=number["leased"],
        delayed=number.get("delayed", 0),
        dead=number.get("dead", 0),
        oldest_age_seconds=totals.get(("daskqueue_oldest_message_age_seconds", "ready"))
        if number["ready"]
        else None,
        enqueued=totals.get(("daskqueue_enqueued_total", ""), 0.0),
        acked=totals.get(("daskqueue_acked_total", ""), 0.0),
        volume_free_bytes=totals.get(("daskqueue_volume_free_bytes", "")),
        version=version[1] if (version := VERSION.search(text)) else None,
        paused=bool(totals.get(("daskqueue_paused", ""))),
    )


def consumer_reading(stats: Mapping[str, Any], metrics: str) -> ConsumerReading:
    """Return what a consumer says.

    Args:
        stats: What it answered to `/stats`.
        metrics: What it answered to `/metrics`; may be empty.

    Raises:
        KeyError: If something is missing.
        TypeError: If something is no number.
        ValueError: If something is no number.
    """
    totals = _totals(metrics)
    return ConsumerReading(
        slots=int(stats["slots"]),
        busy=int(stats["busy"]),
        held=int(stats["held"]),
        draining=bool(stats["draining"]),
        processing_seconds=totals.get(("daskqueue_processing_seconds_sum", ""), 0.0),
        processed=totals.get(("daskqueue_processing_seconds_count", ""), 0.0),
    )


def _totals(text: str) -> dict[tuple[str, str], float]:
    """Return the sums over all labels but the state."""
    totals: dict[tuple[str, str], float] = {}
    for name, state, value in samples(text):
        if math.isfinite(value):
            totals[name, state] = totals.get((name, state), 0.0) + value
    return totals


class Scraper:
    """Asks pods, over connections that it keeps.

    Args:
        port: Where they listen for HTTP.
        deadline_seconds: How long an answer may take.
    """

    def __init__(self, port: int = PORT, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._port = port
        self._deadline = aiohttp.ClientTimeout(total=deadline_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def shards(self, pods: Iterable[Pod]) -> dict[str, ShardReading | None]:
        """Return what each shard says, by the name of its pod.

        Args:
            pods: The pods of the shards.
        """
        return await _each({pod.name: self._shard(pod) for pod in pods})

    async def consumers(self, pods: Iterable[Pod]) -> dict[str, ConsumerReading | None]:
        """Return what each consumer says, by the name of its pod.

        Args:
            pods: The pods of the consumers.
        """
        return await _each({pod.name: self._consumer(pod) for pod in pods})

    async def drain(self, pods: Iterable[Pod]) -> dict[str, ConsumerReading | None]:
        """Tell consumers to take no more and to give back what they have not begun; return what they have left.

        Args:
            pods: Those that are to go.
        """
        return await _each({pod.name: self._told(pod, "POST") for pod in pods})

    async def undrain(self, pods: Iterable[Pod]) -> dict[str, ConsumerReading | None]:
        """Tell consumers to take messages again.

        Args:
            pods: Those that may stay.
        """
        return await _each({pod.name: self._told(pod, "DELETE") for pod in pods})

    async def _shard(self, pod: Pod) -> ShardReading | None:
        answer = await self._ask(pod, "GET", "/metrics")
        return None if answer is None else shard_reading(answer)

    async def _consumer(self, pod: Pod) -> ConsumerReading | None:
        stats, metrics = await asyncio.gather(
            self._ask(pod, "GET", "/stats"), self._ask(pod, "GET", "/metrics")
        )
        return _parsed(stats, metrics)

    async def _told(self, pod: Pod, method: str) -> ConsumerReading | None:
        return _parsed(await self._ask(pod, method, "/drain"), None)

    async def _ask(self, pod: Pod, method: str, path: str) -> str | None:
        """Return the text of an answer that says all is well, else None."""
        if pod.ip is None:
            return None
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._deadline, connector=aiohttp.TCPConnector(limit=0)
            )
        url = URL.build(scheme="http", host=pod.ip, port=self._port, path=path)
        try:
            async with self._session.request(method, url) as response:
                return await response.text() if response.ok else None
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
            return None


async def _each(questions: Mapping[str, Awaitable[T]]) -> dict[str, T]:
    """Await all of them at once."""
    return dict(zip(questions, await asyncio.gather(*questions.values()), strict=True))


def _parsed(stats: str | None, metrics: str | None) -> ConsumerReading | None:
    """Return what a consumer's answers say; None if they are not those of a consumer."""
    try:
        return None if stats is None else consumer_reading(json.loads(stats), metrics or "")
    except (ValueError, KeyError, TypeError):
        return None
