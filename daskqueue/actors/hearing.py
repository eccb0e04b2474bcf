"""What a queue does about what a consumer says of its leases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskqueue.actors.settlement import Settlement, to_runs
from daskqueue.core.tally import Receipt
from daskqueue.engine.records import FAILED, RETURNED

if TYPE_CHECKING:
    from daskqueue.actors.early import EarlyAcks
    from daskqueue.engine.leases import Leases


def hear(leases: Leases, early: EarlyAcks, consumer: str, pool: str, said: Settlement) -> bool:
    """Settle what a consumer says has ended; return whether some of it may be due again later.

    Args:
        leases: of the queue.
        early: what was acked before it ran.
        consumer: who says it.
        pool: its consumer pool; results are kept under it.
        said: of one lease.
    """
    if said.late:
        _hear_late(leases, early, consumer, pool, said)
        return False
    receipt = Receipt(said.lease, said.epoch)
    if said.returned:
        leases.ack(receipt, to_runs(said.returned), said.results)
    if said.raised:
        leases.nack(receipt, to_runs(said.raised), said.failures, said.reason, final=said.final)
    if said.released:
        leases.release(receipt, to_runs(said.released), said.delay)
    if said.crashed:
        leases.crash(receipt, to_runs(said.crashed))
    if said.stopped:
        leases.stop(receipt, to_runs(said.stopped))
    return bool(said.raised or said.delay)


def _hear_late(leases: Leases, early: EarlyAcks, consumer: str, pool: str, said: Settlement) -> None:
    if said.returned and said.results is not None:
        leases.complete(pool, consumer, RETURNED, to_runs(said.returned), said.results)
    if said.raised:
        leases.complete(pool, consumer, FAILED, to_runs(said.raised), said.failures)
    ended = [*said.returned, *said.raised, *said.released, *said.crashed, *said.stopped]
    early.end(consumer, to_runs(ended))
