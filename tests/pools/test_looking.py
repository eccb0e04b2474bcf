"""Looking at a pool (what comes next, numbers) and stopping it for a while."""

from __future__ import annotations

from .conftest import values_of


def double(number):
    return 2 * number


def test_a_look_shows_the_first_messages_and_changes_nothing(make, durable):
    pool = make.queues(2, durable=durable)
    jobs = [pool.submit(double, number) for number in range(6)]
    seen = pool.peek(4)
    assert [waiting.job for waiting in seen] == jobs[:4]
    assert [waiting.args for waiting in seen] == [(0,), (1,), (2,), (3,)]
    assert seen[0].function == f"{__name__}.double"
    assert repr(seen[0]) == f"<Waiting {jobs[0].id}: {__name__}.double(0), ready>"
    assert sum(pool.get_queue_size().values()) == 6
    consumers = make.consumers(pool)
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == [0, 2, 4, 6, 8, 10]
    assert repr(pool.peek(4)) == "nothing waits"


def test_a_look_is_in_the_order_of_delivery(make):
    pool = make.queues()
    pool.options(delay="1h").submit(double, 3)
    pool.submit(double, 1)
    pool.submit(double, 2)
    pool.options(priority=9).submit(double, 0)
    seen = pool.peek(10)
    assert [waiting.args[0] for waiting in seen] == [0, 1, 2, 3]
    assert [waiting.state for waiting in seen] == ["ready", "ready", "ready", "delayed"]
    assert seen[0].terms.priority == 9
    assert seen[3].due_at > seen[3].submitted_at
    assert "double(3)" in seen._repr_html_()


def test_a_paused_pool_hands_out_nothing_until_it_goes_on(make, durable):
    pool = make.queues(2, durable=durable)
    pool.pause()
    consumers = make.consumers(pool)
    jobs = pool.map(double, range(20), batch_size=5)
    assert pool.stats().total["paused"]
    # A consumer that is told nothing waits longer than a message needs here.
    assert not any(job.done() for job in jobs)
    assert sum(pool.get_queue_size().values()) == 20
    pool.resume()
    consumers.join(timeout=30)
    assert pool.gather(jobs, timeout=10) == [2 * number for number in range(20)]
    assert not pool.stats().total["paused"]


def test_numbers_tell_of_each_queue_and_of_all(make):
    pool = make.queues(2)
    pool.map(double, range(20), batch_size=5)
    stats = pool.stats()
    assert len(stats) == 2
    assert [queue["messages"]["ready"] for queue in stats.values()] == [10, 10]
    assert stats.total["messages"]["ready"] == 20
    assert stats.total["message_bytes"] > 20
    assert stats.total["counters"]["enqueued"] == 20
    assert stats.total["rates"]["enqueued"] > 0
    lines = repr(stats).splitlines()
    assert lines[0].split()[:5] == ["queue", "ready", "delayed", "leased", "dead"]
    assert lines[-1].split()[:2] == ["all", "20"]
    assert "<td>20</td>" in stats._repr_html_()
    make.consumers(pool).join(timeout=30)
    assert pool.stats().total["counters"]["acked"] == 20
    assert pool.stats().total["message_bytes"] == 0
