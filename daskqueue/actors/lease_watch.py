"""Leases that end without their holder: in time, or with its worker."""

from __future__ import annotations

import asyncio
import logging

from daskqueue.actors.directory import Directory, Fate
from daskqueue.actors.early import EarlyAcks
from daskqueue.clock import Clock
from daskqueue.engine.engine import Engine
from daskqueue.errors import QueueLostError, StorageError

# How often a queue asks the scheduler whether those who hold its messages still exist.
LOST_CHECK_SECONDS = 2.0
# Pause after the disk has refused.
REFUSED_SECONDS = 1.0

logger = logging.getLogger(__name__)


class LeaseWatch:
    """Wakes when a delayed message is due or a lease ends, and takes back what lost consumers hold.

    Args:
        engine: whose leases they are.
        early: what was acked before it ran.
        directory: knows which consumers live.
        clock: reads the time.
        patience_seconds: how long a consumer may be away: hosts come back after a restart of their scheduler.
    """

    def __init__(
        self,
        engine: Engine,
        early: EarlyAcks,
        directory: Directory,
        clock: Clock,
        patience_seconds: float = 0.0,
    ) -> None:
        self._engine = engine
        self._early = early
        self._directory = directory
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._away_since: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._at_rest = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def look_again(self) -> None:
        """Find out anew when to wake: something was delayed."""
        self._changed.set()

    def watch_on(self) -> None:
        """Begin to look now and then, if that had ended: something was leased."""
        if self._at_rest:
            self._changed.set()

    def close(self) -> None:
        """Stop."""
        self._task.cancel()

    @property
    def _holders(self) -> set[str]:
        return self._engine.consumers() | self._early.consumers

    async def _run(self) -> None:
        checked_at = 0.0
        while True:
            # First of all at the opening: the leases in the log may be those of workers that died with it.
            if self._clock.now() - checked_at >= LOST_CHECK_SECONDS and self._holders:
                checked_at = self._clock.now()
                await self._take_back_lost()
            seconds = self._engine.seconds_to_next_event()
            if self._holders:
                seconds = LOST_CHECK_SECONDS if seconds is None else min(seconds, LOST_CHECK_SECONDS)
            self._at_rest = seconds is None
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                await self._expire()
            self._changed.clear()

    async def _expire(self) -> None:
        try:
            await self._engine.leases.expire()
        except StorageError as error:
            # A full disk: those who hold the messages go on with them until there is room. The failure of a
            # disk is the next command's to meet.
            logger.warning("Leases that are over could not be taken back, and will be: %s", error)
            await asyncio.sleep(REFUSED_SECONDS)

    async def _take_back_lost(self) -> None:
        holders = self._holders
        try:
            fates = await self._directory.fates(holders)
        except (OSError, QueueLostError):
            # Without a scheduler nobody can tell who is away, this queue included.
            self._away_since.clear()
            return
        now = self._clock.now()
        away = {holder for holder in holders if fates[holder] is Fate.AWAY}
        self._away_since = {holder: self._away_since.get(holder, now) for holder in away}
        lost = [holder for holder in holders if fates[holder] is Fate.REPLACED]
        lost += [holder for holder in away if now - self._away_since[holder] >= self._patience_seconds]
        for holder in lost:
            self._early.lose(holder)
        if lost:
            try:
                await self._engine.leases.lose(lost)
            except StorageError as error:
                logger.warning("What lost consumers hold could not be taken back, and will be: %s", error)
