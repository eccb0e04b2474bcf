"""The one task of a DaskQueue: woken by whatever concerns it, and by the clock of its scaling."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from daskqueue_operator import events, operator_metrics
from daskqueue_operator.cache import Key
from daskqueue_operator.conditions.condition import as_status
from daskqueue_operator.conditions.view import Scaling, View
from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.errors import SpecError
from daskqueue_operator.kinds import Manifest
from daskqueue_operator.reconcile import Outcome, reconcile
from daskqueue_operator.scaler import Scaler
from daskqueue_operator.scaling import ScaleResult
from daskqueue_operator.site import Site
from daskqueue_operator.status import refused, status, worth_writing, written

log = logging.getLogger("daskqueue_operator")

CALM_SECONDS = 60.0  # between two passes over a queue that is as it should be, if nothing wakes it
SOON_SECONDS = 5.0  # while something is wrong or on its way: conditions speak of time that passes
LONGEST_SECONDS = 60.0  # between two tries after errors


class GoneError(Exception):
    """The DaskQueue is not there any more."""


class QueueTask:
    """Keeps one DaskQueue as its spec says, until it is gone.

    Args:
        site: the cluster, and what all queues share.
        key: namespace and name of the DaskQueue.
    """

    def __init__(self, site: Site, key: Key) -> None:
        self.due_at = time.monotonic()  # when the next pass should have begun
        self._site, self._key = site, key
        self._woken = asyncio.Event()
        self._scaler = Scaler(site.cluster, site.scraper)
        self._uid = ""
        self._outcome: Outcome | None = None
        self._full_at = 0.0
        self._status: Mapping[str, Any] = {}
        self._status_version = 0
        self._status_at = 0.0
        self._failures = 0
        self._yields = False

    def wake(self) -> None:
        """Have a pass soon: something has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Work until the DaskQueue is gone."""
        while (body := self._site.cache.queue(self._key)) is not None:
            seconds = await self._guarded(body)
            self.due_at = time.monotonic() + seconds
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                pass
        self._site.turns.give_back(self._key)
        operator_metrics.forget(self._key)

    async def _guarded(self, body: Manifest) -> float:
        """Make a pass; return after how many seconds the next is due, at the latest."""
        try:
            with operator_metrics.RECONCILE_SECONDS.time():
                seconds = await self._pass(body)
        except GoneError:
            self._site.cache.forget(self._uid)
            return 0.0
        except Exception as error:
            self._failures += 1
            operator_metrics.RECONCILE_ERRORS.labels(type(error).__name__).inc()
            log.exception("%s/%s: the pass failed, and is tried again", *self._key)
            self._full_at = 0.0
            return min(2.0**self._failures, LONGEST_SECONDS)
        self._failures = 0
        return seconds

    async def _pass(self, body: Manifest) -> float:
        if self._woken.is_set():
            self._woken.clear()
            self._full_at = 0.0
        self._meet(body)
        try:
            queue = DaskQueue.of(body)
            if queue.deleting:
                return CALM_SECONDS
            outcome = await self._reconciled(queue)
        except SpecError as error:
            await self._refuse(body, error)
            return CALM_SECONDS
        yielded, self._yields = self._yields, outcome.yields
        if yielded and outcome.yields:
            return SOON_SECONDS  # it was said once; the other operator writes the status now
        scaled, scaling = await self._scale(queue, outcome)
        view = View(
            queue,
            outcome.observed,
            outcome.shards,
            datetime.now(UTC),
            outcome.actions,
            outcome.failure,
            scaling,
        )
        await self._tell(view, outcome, scaled)
        self._outcome = replace(outcome, actions=outcome.waiting)
        again = scaled.again_seconds if scaled else SOON_SECONDS
        return max(0.0, min(again, self._full_at - time.monotonic()))

    def _meet(self, body: Manifest) -> None:
        """Forget everything if this is another DaskQueue of the same name; take the newest status."""
        if body["metadata"]["uid"] != self._uid:
            self._uid, self._status_version, self._outcome = body["metadata"]["uid"], 0, None
            self._scaler = Scaler(self._site.cluster, self._site.scraper)
        if int(body["metadata"]["resourceVersion"]) >= self._status_version:
            self._status = body.get("status") or {}

    async def _reconciled(self, queue: DaskQueue) -> Outcome:
        """Return what a whole pass did, or, when nothing has happened since the last one, what that found."""
        if self._outcome is not None and time.monotonic() < self._full_at:
            return self._outcome
        outcome = await reconcile(self._site, replace(queue, status=self._status), self.wake)
        answers = {entry["type"]: entry["status"] for entry in self._status.get("conditions", [])}
        calm = not outcome.actions and outcome.failure is None and answers.get("Progressing") == "False"
        self._full_at = time.monotonic() + (CALM_SECONDS if calm else SOON_SECONDS)
        return outcome

    async def _scale(self, queue: DaskQueue, outcome: Outcome) -> tuple[ScaleResult | None, Scaling | None]:
        shards = replace(queue.spec.shards, replicas=outcome.shards)
        asked = replace(queue, status=self._status, spec=replace(queue.spec, shards=shards))
        try:
            result = await self._scaler.step(asked, outcome.observed, time.time())
        except Exception as error:
            operator_metrics.RECONCILE_ERRORS.labels(f"scaling:{type(error).__name__}").inc()
            log.exception("%s/%s: the scaling failed, and is tried again", *self._key)
            message = f"the scaling failed, and is tried again: {error}"
            return None, Scaling(active=False, reason="Error", message=message, desired=0)
        operator_metrics.scaled(self._key, result)
        return result, Scaling(result.active, result.reason, result.message, result.desired, result.paused)

    async def _tell(self, view: View, outcome: Outcome, scaled: ScaleResult | None) -> None:
        """Write the status if it is worth it, and events about what turned."""
        before = self._status
        settled = not outcome.done or outcome.failure is not None
        generation = view.queue.generation if settled else before.get("observedGeneration", 0)
        new = status(view, scaled, before, generation)
        notices = events.of_actions(outcome.done if outcome.failure is None else ())
        notices += events.of_conditions(new["conditions"], before.get("conditions", []))
        notices += events.of_scaling(scaled)
        notices += events.of_dead_letters(view.queue, new, before)
        if worth_writing(new, before, time.monotonic() - self._status_at):
            await self._write(new)
        for notice in notices:
            log.info("%s/%s: %s: %s", *self._key, notice.reason, notice.message)
            await self._site.cluster.write_event(events.event(view.queue, notice, view.now))

    async def _write(self, new: Manifest) -> None:
        namespace, name = self._key
        version = await self._site.cluster.write_status(namespace, name, new)
        if version is None:
            raise GoneError
        self._status_version = version
        self._status, self._status_at = new, time.monotonic()

    async def _refuse(self, body: Manifest, error: SpecError) -> None:
        """Say that the spec cannot be carried out; whatever runs goes on as it is."""
        now, before, generation = datetime.now(UTC), self._status, body["metadata"].get("generation", 0)
        old = before.get("conditions", [])
        conditions = as_status(refused("InvalidSpec", str(error)), old, generation, written(now))
        if worth_writing(
            new := {**before, "observedGeneration": generation, "conditions": conditions}, before, 0
        ):
            await self._write(new)
