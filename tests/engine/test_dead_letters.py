"""Dead letters: found page by page with all that is known of them, run again, thrown away."""

from __future__ import annotations

import pytest

from daskqueue.batch import Batch
from daskqueue.engine.dead_letters import DeadRow
from daskqueue.errors import StorageError
from daskqueue.message import Run
from daskqueue.results import decode_results

PLENTY = 1 << 20


def kill(bench, *values, retries=0, reason="raised"):
    """Put values and let them die; return the first sequence."""
    first = bench.put(*values, retries=retries)
    for _ in range(retries + 1):
        bench.clock.moment += 1000
        bench.nack(bench.lease(), reason=reason)
    return first


def pages(bench, limit=100, max_bytes=PLENTY, whole=True):
    """Return all rows, page by page."""
    after, found = 0, []
    while after is not None:
        rows, after = bench.run(bench.engine.dead.page(after, limit, max_bytes, whole=whole))
        found.append(rows)
    return found


def letters(bench, **kwargs):
    """Return ``sequence -> (value, failure)`` of all dead letters."""
    found = {}
    for row in [row for page in pages(bench, **kwargs) for row in page]:
        values = list(Batch.parse(row.batch).items()) if row.batch else [None] * (row.last - row.first)
        failures = decode_results(row.failures) if row.failures else [None] * len(values)
        assert len(values) == len(failures) == row.last - row.first
        for sequence, value, failure in zip(range(row.first, row.last), values, failures, strict=True):
            found[sequence] = (value, failure and failure.summary)
    return found


def test_a_dead_letter_says_what_it_was_and_what_became_of_it(bench):
    put_at = bench.clock.now()
    bench.put("a", "b", retries=1)
    for _ in range(2):
        bench.clock.moment += 100
        bench.nack(bench.lease())
    ((row, other),) = pages(bench)
    assert row[:7] == (0, 1, 2, 0, "raised", put_at, bench.clock.now())
    assert other.first == 1
    assert letters(bench) == {0: ("a", "ValueError: no 0"), 1: ("b", "ValueError: no 1")}


def test_a_message_whose_consumers_died_has_no_failure_and_says_how_often_it_was_lost(bench):
    bench.put("poison")
    for _ in range(bench.settings.max_losses):
        bench.lease()
        bench.lose("carol")
    ((row,),) = pages(bench)
    assert (row.attempts, row.losses, row.reason, row.failures) == (0, 5, "crash_loop", b"")
    assert letters(bench) == {0: ("poison", None)}


@pytest.mark.parametrize("restart", ["no restart", "close", "kill", "twice"])
def test_dead_letters_survive_restarts(bench, restart):
    kill(bench, *range(20))
    before = pages(bench)
    for _ in range({"no restart": 0, "twice": 2}.get(restart, 1)):
        bench.reopen(kill=restart == "kill")
    # Puts have no time in the log: what a killed process had not put down counts from the opening on.
    assert [row._replace(put_at=None) for row in pages(bench)[0]] == [
        row._replace(put_at=None) for row in before[0]
    ]
    assert pages(bench) == before or restart == "kill"
    assert len(letters(bench)) == 20


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_pages_hold_no_more_than_was_asked_and_all_of_them_everything_once(quick, limit):
    kill(quick, *range(10))
    kill(quick, *range(10, 15))
    found = pages(quick, limit=limit)
    assert all(sum(row.last - row.first for row in page) <= limit for page in found)
    assert [row.first for page in found for row in page] == list(range(15))


def test_pages_are_bounded_by_bytes_but_one_row_comes_in_any_case(quick):
    kill(quick, *("x" * 10_000 for _ in range(9)))
    found = pages(quick, max_bytes=25_000)
    assert [len(page) for page in found] == [3, 3, 3]
    assert [len(page) for page in pages(quick, max_bytes=0)] == [1] * 9


def test_a_page_of_runs_only_reads_nothing(quick, monkeypatch):
    kill(quick, *range(10))
    monkeypatch.setattr(quick.engine._reader, "read_slices", None)
    ((row,),) = pages(quick, whole=False)
    assert row == DeadRow(0, 10, 1, 0, "raised", row.put_at, row.died_at)


def test_redriven_dead_letters_run_again_with_all_attempts(bench):
    kill(bench, "a", "b", retries=2)
    assert bench.run(bench.engine.dead.redrive([Run(0, 1)], None)) == (Run(0, 1),)
    assert (bench.state(0), bench.state(1)) == ("ready", "dead")
    assert "ready" in bench.heard
    for _ in range(2):
        bench.nack(bench.lease())
        bench.clock.moment += 1000
        assert bench.state(0) == "delayed"
    bench.ack(bench.lease())
    assert bench.outcome(0) == ("returned", ("done", "a"))
    assert list(letters(bench)) == [1]


def test_a_redrive_that_is_sent_twice_counts_once(bench):
    kill(bench, *range(5))
    again = [bench.run(bench.engine.dead.redrive([Run(1, 3)], None)) for _ in range(2)]
    assert again == [(Run(1, 3),), ()]
    assert bench.counts["ready"] == 2


def test_a_redrive_is_durable_when_it_answers(bench):
    kill(bench, *range(5))
    bench.run(bench.engine.dead.redrive(None, 2))
    bench.reopen(kill=True)
    assert (bench.counts["ready"], bench.counts["dead"]) == (2, 3)


def test_a_redriven_message_is_not_done_any_more(bench):
    kill(bench, "a")
    assert bench.outcome(0)[0] == "failed"
    bench.run(bench.engine.dead.redrive(None, None))
    assert bench.outcome(0) is None


def test_purged_dead_letters_are_gone_and_their_jobs_know_it(bench):
    kill(bench, *range(4))
    assert bench.run(bench.engine.dead.purge([Run(1, 3)])) == (Run(1, 3),)
    assert bench.run(bench.engine.dead.purge([Run(1, 3)])) == ()
    bench.reopen(kill=True)
    assert sorted(letters(bench)) == [0, 3]
    assert bench.outcome(1) == ("failed", "purged")
    assert bench.outcome(0) == ("failed", "no 0")
    assert bench.run(bench.engine.dead.purge(None)) == (Run(0, 1), Run(3, 4))
    assert bench.engine.dead.count() == {}


def test_they_are_counted_by_reason(bench):
    kill(bench, 1, 2, 3)
    kill(bench, 4, reason="rejected")
    assert bench.engine.dead.count() == {"raised": 3, "rejected": 1}


def test_dead_letters_move_forward_with_all_that_is_known_of_them(make_bench, fs, monkeypatch):
    bench = make_bench(fs, segment_bytes=4096)
    kill(bench, "kept", retries=1)
    ((before,),) = pages(bench)
    for _ in range(60):
        bench.put(*("x" * 50 for _ in range(20)))
        bench.drain()
        bench.let_it_work()
    assert bench.engine._files.log.segments[0].number > 0
    bench.reopen(kill=True)
    ((row,),) = pages(bench)
    assert row._replace(batch=b"") == before._replace(batch=b"")
    assert letters(bench) == {0: ("kept", "ValueError: no 0")}


def test_a_dead_letter_that_was_moved_while_it_is_read_is_found_where_it_is_now(quick, monkeypatch):
    kill(quick, "a")
    real, seen = quick.engine._reader.read_slices, []

    def once_gone(entry):
        seen.append(entry)
        if len(seen) == 1:
            raise StorageError("no such segment")
        return real(entry)

    monkeypatch.setattr(quick.engine._reader, "read_slices", once_gone)
    assert letters(quick) == {0: ("a", "ValueError: no 0")}
    assert len(seen) == 2
