"""Short lives of a queue, each for what it would lose if one thing were not synced, or too late."""

from __future__ import annotations

import asyncio

from .lives import LARGE, LONG, OPENINGS, Life


class KilledBeforeItSynced(Life):
    """What an opening has found, it has promised: also what its killed owner had only in the page cache."""

    settings = {"fsync": "never"}  # noqa: RUF012

    def tell(self):
        self.bench.open()
        self.put("a", "b", "c", "d")
        self.settle(self.bench.lease(1))
        self.reopen(kill=True)
        self.settle(self.bench.lease(1))
        self.put("e")
        self.reopen(kill=True)


class SyncedSoon(Life):
    """What nobody waits for is on the disk all the same, a little later."""

    def tell(self):
        self.bench.open()
        self.put("a")
        self.settle(self.bench.lease())
        self.loop.moment += 1.0
        for _ in range(3):
            self.bench.run(asyncio.sleep(0))
        self._safe()


class ResultsInMemory(Life):
    """What tasks returned ends with the queue's process, by choice; nothing else does."""

    settings = {"results": "memory"}  # noqa: RUF012

    def tell(self):
        self.bench.open()
        self.put("a", "b")
        self.settle(self.bench.lease(1))
        self.make_safe()

    def judge_results(self, bench, settled, found, halves):
        assert not found


class LargeOnesGo(Life):
    """The file of a large batch goes when it is on the disk that nobody needs it, and not before."""

    def tell(self):
        self.bench.open()
        for _ in range(3):
            self.put(bytes(LARGE), "beside it")
            hand = self.bench.lease(1)
            self.settle(hand)
            self.put("small")  # its commit syncs the log, and not the results
            self.make_safe()
            self.settle(self.bench.lease(2))
        self.make_safe()


class OpenedAgainAndAgain(Life):
    """Openings pile up no segments, though something lives in the oldest one."""

    def tell(self):
        self.bench.open()
        self.put("delayed", delay=LONG / 2)
        self.put("dead", "done")
        hand = self.bench.lease(2)
        self.bury(hand, [1])
        self.settle(hand, [2])
        for number in range(OPENINGS + 1):
            self.reopen(kill=number % 2 == 0)
        log = self.bench.engine.ledger.files.log
        assert len(log.segments) <= OPENINGS


class SurvivorsMove(Life):
    """Segments roll and go, and a few messages live on: delayed, waiting and dead."""

    def tell(self):
        self.bench.open()
        self.put("delayed", delay=LONG / 2)
        self.put("dead")
        self.bury(self.bench.lease(1), [1])
        self.put("delayed, too", delay=LONG / 2)
        for _ in range(6):
            self.pass_through(3)
            self.make_safe()


TARGETED = (
    KilledBeforeItSynced,
    SyncedSoon,
    ResultsInMemory,
    LargeOnesGo,
    OpenedAgainAndAgain,
    SurvivorsMove,
)
