"""Dead letters: kept with all that is known of them, looked through, run again, thrown away."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from pathlib import Path

import pytest
from distributed import Client

from daskqueue import ConsumerPool, QueuePool
from daskqueue.looking.dead import DeadLetter

from .conftest import values_of


def fail(number, *, unit="items"):
    raise ValueError(f"no {number} {unit}")


def fail_while(path, number):
    """Fail as long as the file is there."""
    if Path(path).exists():
        raise RuntimeError(f"{number} is too early")
    return number


def note_and_fail(path):
    with Path(path).open("a") as lines:
        lines.write(f"{time.time()}\n")
    raise ValueError("always")


def end_process():
    os._exit(3)


def dead_pool(make, n_queues=2, count=6, **options):
    """Return a pool with dead letters of ``fail(0)``, ``fail(1)``, ..., and its consumers."""
    pool = make.queues(n_queues, **options)
    pool.batch_submit([(fail, number) for number in range(count)], batch_size=2)
    consumers = make.consumers(pool)
    consumers.join(timeout=30)
    return pool, consumers


def numbers(letters):
    return sorted(letter.args[0] for letter in letters)


def test_a_task_runs_once_and_n_times_more_with_growing_pauses_and_is_then_a_dead_letter(
    make, tmp_path, durable
):
    pool = make.queues(durable=durable, retries=2, backoff="100ms")
    job = pool.submit(note_and_fail, str(tmp_path / "runs"))
    make.consumers(pool).join(timeout=30)
    runs = [float(line) for line in (tmp_path / "runs").read_text().split()]
    pauses = [later - sooner for sooner, later in itertools.pairwise(runs)]
    assert len(runs) == 3
    assert pauses[0] > 0.05
    assert pauses[1] > 0.1
    (letter,) = pool.dead.list()
    assert (letter.job, letter.reason, letter.attempts, letter.deliveries) == (job, "raised", 3, 3)
    assert isinstance(job.exception(timeout=5), ValueError)


def test_a_dead_letter_tells_the_call_the_exception_and_when(make, durable):
    pool = make.queues(durable=durable)
    job = pool.submit(fail, 7, unit="apples")
    make.consumers(pool).join(timeout=30)
    (letter,) = pool.dead.list()
    assert letter.function == f"{__name__}.fail"
    assert (letter.args, letter.kwargs) == ((7,), {"unit": "apples"})
    assert isinstance(letter.exception, ValueError)
    assert letter.exception.args == ("no 7 apples",)
    assert 'raise ValueError(f"no {number} {unit}")' in letter.traceback
    assert 0 <= (letter.died_at - letter.submitted_at).total_seconds() < 30
    assert repr(letter) == (
        f"<DeadLetter {job.id}: {__name__}.fail(7, unit='apples'), "
        "raised after 1 attempt: ValueError: no 7 apples>"
    )


def test_the_list_prints_a_line_each_and_a_table_whose_text_is_escaped(make):
    pool = make.queues()
    pool.submit(fail, "<b>")
    make.consumers(pool).join(timeout=30)
    letters = pool.dead.list()
    assert repr(letters) == repr(letters[0])
    table = letters._repr_html_()
    assert "&lt;b&gt;" in table
    assert "<b>" not in table
    assert table.count("<tr>") == 2
    pool.dead.purge()
    assert repr(pool.dead.list()) == "no dead letters"


def test_they_are_listed_across_all_queues_the_first_that_died_in_front(make, durable):
    pool, _ = dead_pool(make, durable=durable)
    letters = pool.dead.list()
    assert numbers(letters) == [0, 1, 2, 3, 4, 5]
    assert {letter.job.place.queue for letter in letters} == {0, 1}
    died = [letter.died_at for letter in letters]
    assert died == sorted(died)
    assert len(pool.dead.list(limit=4)) == 4
    assert numbers(pool.dead.list(where=lambda letter: letter.args[0] > 3)) == [4, 5]
    assert pool.dead.count() == 6
    assert pool.dead.reasons() == {"raised": 6}


def test_more_than_a_page_is_listed_and_redriven(make):
    pool = make.queues()
    pool.batch_submit([(fail, number) for number in range(1200)])
    consumers = make.consumers(pool)
    consumers.join(timeout=60)
    assert numbers(pool.dead.list()) == list(range(1200))
    assert pool.dead.redrive(limit=700) == 700
    assert pool.dead.count() == 500


def test_redriven_messages_run_again_and_their_jobs_have_results(make, tmp_path, durable):
    stop = tmp_path / "stop"
    stop.touch()
    pool = make.queues(2, durable=durable)
    jobs = pool.batch_submit([(fail_while, str(stop), number) for number in range(10)], batch_size=5)
    consumers = make.consumers(pool)
    consumers.join(timeout=30)
    assert pool.dead.count() == 10
    stop.unlink()
    assert pool.dead.redrive(where=lambda letter: letter.args[1] < 3) == 3
    assert pool.dead.redrive(limit=2) == 2
    assert pool.dead.redrive() == 5
    assert pool.dead.redrive() == 0
    consumers.start()
    consumers.join(timeout=30)
    assert [job.result(timeout=10) for job in jobs] == list(range(10))
    assert sorted(values_of(consumers.results())) == list(range(10))


def test_redriven_messages_have_all_their_attempts_again(make):
    pool = make.queues(retries=1, backoff=0.01)
    pool.submit(fail, 1)
    consumers = make.consumers(pool)
    consumers.join(timeout=30)
    assert [letter.attempts for letter in pool.dead.list()] == [2]
    pool.dead.redrive()
    consumers.start()
    consumers.join(timeout=30)
    assert [letter.attempts for letter in pool.dead.list()] == [2]


def test_a_rate_spreads_the_redriven_messages_over_time(make):
    pool, _ = dead_pool(make, count=20)
    began = time.monotonic()
    assert pool.dead.redrive(rate=40) == 20
    assert 0.3 < time.monotonic() - began < 10
    assert pool.dead.count() == 0


def test_purged_dead_letters_are_gone_for_good(make, durable):
    pool, _ = dead_pool(make, durable=durable)
    job = pool.dead.list(limit=1)[0].job
    assert pool.dead.purge(where=lambda letter: letter.job == job) == 1
    assert pool.dead.count() == 5
    assert "purged" in str(job.exception(timeout=10))
    assert pool.dead.purge() == 5
    assert pool.dead.list() == []
    assert pool.dead.purge() == 0


def test_dead_letters_survive_the_loss_of_all_workers(make_fragile):
    pool, _ = dead_pool(make_fragile, durable=True)
    before = repr(pool.dead.list())
    make_fragile.client.restart()
    assert repr(pool.dead.list()) == before
    assert pool.dead.redrive(limit=2) == 2


def test_a_message_that_kills_its_process_is_a_dead_letter_without_an_exception(make_fragile):
    pool = make_fragile.queues(durable=True, max_deliveries=2, lease=2)
    pool.submit(end_process)
    make_fragile.consumers(pool)
    deadline = time.monotonic() + 90
    while not (letters := pool.dead.list()) and time.monotonic() < deadline:
        time.sleep(0.2)
    (letter,) = letters
    assert (letter.reason, letter.attempts, letter.deliveries) == ("crash_loop", 0, 2)
    assert letter.exception is None
    assert letter.function == f"{__name__}.end_process"


def test_raw_items_are_shown_as_they_are(make):
    pool = make.queues()
    pool.put({"raw": 1})
    make.consumers(pool).join(timeout=30)
    (letter,) = pool.dead.list()
    assert letter.args == ({"raw": 1},)


def test_bad_arguments_are_refused_before_anything_happens(make):
    pool, _ = dead_pool(make)
    with pytest.raises(ValueError, match="limit is 0"):
        pool.dead.list(limit=0)
    with pytest.raises(ValueError, match="rate is -1"):
        pool.dead.redrive(rate=-1)
    with pytest.raises(TypeError, match="give a function"):
        pool.dead.purge(where="raised")
    assert pool.dead.count() == 6


def test_what_a_where_raises_comes_to_its_owner_and_nothing_is_changed(make):
    pool, _ = dead_pool(make, n_queues=1)
    with pytest.raises(ZeroDivisionError):
        pool.dead.purge(where=lambda letter: 1 / 0)
    assert pool.dead.count() == 6


def test_everything_works_with_an_asynchronous_client(cluster, name):
    async def use():
        async with Client(cluster.scheduler_address, asynchronous=True) as client:
            pool = await QueuePool(client, 2, name=name)
            await pool.batch_submit([(fail, number) for number in range(6)], batch_size=2)
            consumers = ConsumerPool(client, pool)
            await consumers.start()
            await consumers.join(timeout=30)
            letters = await pool.dead.list(where=lambda letter: letter.args[0] % 2)
            assert numbers(letters) == [1, 3, 5]
            assert all(isinstance(letter, DeadLetter) for letter in letters)
            assert await pool.dead.redrive(limit=1) == 1
            assert await pool.dead.count() == 5
            assert await pool.dead.purge() == 5

    asyncio.run(use())
