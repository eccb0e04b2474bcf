"""Lives in which segments roll, survivors move, old segments go and results are retired."""

from __future__ import annotations

from random import Random

from engine.bench import BOB

from daskqueue.engine.reclaim import FEWEST_SEGMENTS, SETTLED_PART

from .lives import LARGE, LONG, SEGMENT, Life

# A segment is sealed by the first frames that make it too long; these are of a batch, or of what is moved at once.
OVERSHOOT = 1024
TURNS = 16


class Rolling(Life):
    """A random life of much traffic in small segments."""

    seed = 0

    def tell(self):
        rng, bench = Random(self.seed), self.bench
        bench.open()
        for _ in range(TURNS):
            self._put_some(rng)
            while (hand := bench.lease(rng.randint(1, 6))) is not None:
                self._end_some(rng, hand)
                if rng.random() < 0.2:
                    break
            if rng.random() < 0.4:
                self.make_safe()
            if rng.random() < 0.12:
                self.reopen(kill=rng.random() < 0.5)
            bench.clock.moment += 20
            bench.expire()
        self.pass_through(4)
        self.make_safe()

    def _put_some(self, rng):
        start = len(self.fates)
        some = [f"{start + step}{'.' * rng.choice((5, 60, 120))}" for step in range(rng.randint(1, 5))]
        if rng.random() < 0.15:
            some.append(bytes(LARGE))
        delay = LONG / 2 if rng.random() < 0.1 else 0.0
        self.put(*some, delay=delay, retries=rng.randint(0, 2))

    def _end_some(self, rng, hand):
        for sequence in sorted(hand.values):
            chance = rng.random()
            if chance < 0.85:
                self.settle(hand, [sequence])
            elif chance < 0.9:
                self.bury(hand, [sequence])
            elif chance < 0.95:
                self.bench.release(hand, [sequence])

    # After recovery and upkeep

    def judge_disk(self, left, ending):
        """After recovery, traffic and upkeep the disk has what is needed, and little more."""
        bench = self._bench(left)
        bench.clock.moment = self.bench.clock.moment + LONG
        try:
            bench.open()
            bench.expire()
            bench.drain()
            for number in range(60):
                bench.put("x" * 150, "y" * 150, producer=BOB, number=number)
                bench.ack(bench.lease(2))
                bench.let_it_work()
            self._judge_log(bench)
            self._judge_results(bench)
            self._judge_names(bench)
        finally:
            bench.clear_away()

    def _judge_log(self, bench):
        """The bound: segments are emptied when most of the log is settled, from some segments on."""
        files = bench.engine.ledger.files
        alive = {row[2:] for row in map(tuple, files.book.positions.dump())}
        needed = sum(length for _, _, length in alive)
        bound = needed / (1 - SETTLED_PART) + (FEWEST_SEGMENTS + 1) * (SEGMENT + OVERSHOOT)
        assert files.log.size_bytes <= bound, f"{needed} bytes are needed of {files.log.size_bytes}"

    def _judge_results(self, bench):
        log = bench.engine.ledger.outcomes.log
        assert log.size_bytes <= bench.settings.result_bytes + SEGMENT + OVERSHOOT

    def _judge_names(self, bench):
        """There are no files that nothing counts."""
        files, folder = bench.engine.ledger.files, bench.folder
        names = set(bench.fs.names(folder))
        for log, suffix in ((files.log, ".log"), (files.outcomes.log, ".results")):
            counted = {f"{segment.number:020d}{suffix}" for segment in log.segments}
            there = {name for name in names if name.endswith(suffix)}
            # What a crash left half made goes with the first segment behind it.
            assert there - counted == {f"{number:020d}{suffix}" for number in log.strays}, (
                f"{there}, {counted}"
            )
            assert all(number > log.segments[0].number for number in log.strays)
        assert not {name for name in names if name.endswith(".tmp")}
        if "large" in names:
            needed = {f"{name}.batch" for name in files.book.large.names}
            assert set(bench.fs.names(folder / "large")) == needed


class ResultsByBytes(Rolling):
    """The newest results are kept, as many as there is room for; the oldest go first."""

    settings = {"result_bytes": 4 * SEGMENT}  # noqa: RUF012
    SURE = 4  # results that fit into what is left of the room when a segment has just gone

    def judge_results(self, bench, settled, found, halves):
        there = [s in found for s in settled]
        assert there == sorted(there), f"a hole in {settled}: {sorted(found)}"
        assert found >= set(settled[-self.SURE :])


class ResultsByCount(Rolling):
    """Just the newest are kept; those of an ack that was taken back by a power cut count as well."""

    settings = {"result_count": 12}  # noqa: RUF012

    def judge_results(self, bench, settled, found, halves):
        wanted = self.settings["result_count"]
        assert len(found) <= wanted
        sure = max(wanted - len(halves), 0)
        assert found >= set(settled[max(len(settled) - sure, 0) :])


class ResultsByAge(Rolling):
    """Results are kept for their time, and not longer."""

    settings = {"result_ttl_seconds": 150.0}  # noqa: RUF012

    def judge_results(self, bench, settled, found, halves):
        since = bench.clock.now() - self.settings["result_ttl_seconds"]
        young = {s for s in settled if self.fates[s].asked_when >= since}
        assert found & set(settled) == young


class NoResults(Rolling):
    """Nothing is kept of what tasks return."""

    settings = {"results": "none"}  # noqa: RUF012

    def judge_results(self, bench, settled, found, halves):
        assert not found


LIVES = (Rolling, ResultsByBytes, ResultsByCount, ResultsByAge, NoResults)
