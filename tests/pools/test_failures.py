"""Tasks that raise: seen with their traceback, run again, kept as dead letters; their siblings unharmed."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time

import pytest

from daskqueue import ConsumerBaseClass
from daskqueue.errors import CannotLoadError, JobFailedError

from .conftest import values_of


class OddError(Exception):
    """An exception whose constructor wants more than its text."""

    def __init__(self, what, number):
        super().__init__(f"{what} {number}")
        self.number = number


class UnpicklableError(Exception):
    def __init__(self):
        super().__init__("cannot travel")
        self.handle = sys.stdout.buffer


def fail_if(bad, number):
    if bad:
        raise ValueError(f"bad number {number}")
    return number


def raise_odd():
    raise OddError("odd", 3)


def raise_unpicklable():
    raise UnpicklableError


def raise_it(error):
    raise error


def leave(code):
    sys.exit(code)


def stop_iterating():
    return next(iter(()))


def note_and_fail(path, failures):
    """Fail the first *failures* times; each time write down when."""
    with path.open("a") as lines:
        lines.write(f"{time.time()}\n")
    tries = len(path.read_text().splitlines())
    if tries <= failures:
        raise ValueError(f"try {tries}")
    return tries


def test_a_failing_task_is_visible_and_its_siblings_are_unharmed(make, durable):
    pool = make.queues(2, durable)
    consumers = make.consumers(pool, 2)
    jobs = pool.batch_submit([(fail_if, number % 10 == 3, number) for number in range(100)], batch_size=25)
    consumers.join(timeout=30)
    good = [number for number in range(100) if number % 10 != 3]
    assert sorted(values_of(consumers.results())) == good
    for number, job in enumerate(jobs):
        if number % 10 == 3:
            error = job.exception(timeout=10)
            assert isinstance(error, ValueError)
            assert str(error) == f"bad number {number}"
            assert "in fail_if" in job.traceback()
            assert job.status == "error"
        else:
            assert job.result(timeout=10) == number
            assert job.exception() is None
            assert job.traceback() is None
            assert job.status == "finished"


def test_a_result_raises_what_the_task_raised_with_its_traceback_as_the_cause(make):
    pool = make.queues()
    make.consumers(pool)
    with pytest.raises(ValueError, match="bad number 7") as caught:
        pool.submit(fail_if, True, 7).result(timeout=10)
    assert "in fail_if" in str(caught.value.__cause__)


def test_the_count_that_join_logs_includes_the_failed_ones(make, log_lines):
    pool = make.queues()
    consumers = make.consumers(pool)
    pool.batch_submit([(fail_if, number < 5, number) for number in range(20)])
    consumers.join(timeout=30)
    assert "All consumers are done ! 20 items processed. " in log_lines()


@pytest.mark.parametrize("task", [raise_odd, raise_unpicklable])
def test_an_exception_that_cannot_be_carried_is_told_in_its_words(make, task):
    pool = make.queues()
    make.consumers(pool)
    error = pool.submit(task).exception(timeout=10)
    assert isinstance(error, JobFailedError)
    assert ("odd 3" in str(error)) or ("cannot travel" in str(error))
    assert f"in {task.__name__}" in str(error.__cause__)


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt("no"), SystemExit(3), asyncio.CancelledError("no"), GeneratorExit("no")],
    ids=repr,
)
def test_a_task_that_raises_what_ends_programs_fails_alone(make, error):
    pool = make.queues()
    make.consumers(pool)
    job = pool.submit(raise_it, error)
    assert pool.submit(fail_if, False, 1).result(timeout=10) == 1
    assert isinstance(job.exception(timeout=10), BaseException)
    with pytest.raises(BaseException, match=r"no|3"):
        job.result(timeout=10)
    assert pool.submit(fail_if, False, 2).result(timeout=10) == 2


def test_a_task_that_exits_fails_alone(make):
    pool = make.queues()
    make.consumers(pool)
    job = pool.submit(leave, 3)
    assert pool.submit(fail_if, False, 1).result(timeout=10) == 1
    assert job.exception(timeout=10) is not None


def test_a_task_that_raises_stopiteration_fails_alone(make):
    pool = make.queues()
    consumers = make.consumers(pool)
    jobs = pool.batch_submit([(fail_if, False, 1), (stop_iterating,), (fail_if, False, 2)])
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == [1, 2]
    assert isinstance(jobs[1].exception(timeout=10), (StopIteration, RuntimeError))


def test_a_task_that_raises_stopiteration_tells_so_with_several_threads_too(make):
    pool = make.queues()
    consumers = make.consumers(pool, max_concurrency=2)
    jobs = pool.batch_submit([(fail_if, False, 1), (stop_iterating,), (fail_if, False, 2)])
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == [1, 2]
    with pytest.raises((StopIteration, RuntimeError)):
        jobs[1].result(timeout=10)


def wait_and_stop_iterating(gate):
    gate.wait()
    return next(iter(()))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_slow_task_that_raises_stopiteration_fails_when_the_rest_of_its_slice_was_given_back(
    make, gate, threads
):
    pool = make.queues()
    consumers = make.consumers(pool, max_concurrency=threads)
    for job in pool.map(fail_if, [False] * 200, range(200)):
        job.result(timeout=10)
    jobs = pool.batch_submit(
        [*((wait_and_stop_iterating, gate) for _ in range(threads)), *([(len, "abc")] * 5)]
    )
    gate.expect(threads)
    with pytest.raises(TimeoutError):
        jobs[0].result(timeout=1.0)  # long enough for the rest to be given back
    gate.let(threads)
    consumers.join(timeout=20)
    assert isinstance(jobs[0].exception(timeout=10), (StopIteration, RuntimeError))
    assert jobs[-1].result(timeout=10) == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_an_unpicklable_result_fails_its_own_task_only(make, threads):
    pool = make.queues()
    consumers = make.consumers(pool, max_concurrency=threads)
    jobs = pool.batch_submit([(lambda n: (x for x in ()) if n == 4 else n, number) for number in range(10)])
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    error = jobs[4].exception(timeout=10)
    assert "generator" in str(error)
    assert "pickle" in str(error)


def test_an_unpicklable_result_is_not_run_again(make, tmp_path):
    pool = make.queues(retries=3, backoff=0.01)
    consumers = make.consumers(pool)

    def unpicklable(path):
        with path.open("a") as lines:
            lines.write("run\n")
        return (x for x in ())

    pool.submit(unpicklable, tmp_path / "runs")
    consumers.join(timeout=30)
    assert (tmp_path / "runs").read_text() == "run\n"


class ComesBackBroken:
    """Pickles well, and raises where it is unpickled."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ValueError("not here")


def test_a_result_that_cannot_be_unpickled_spoils_no_other(make):
    pool = make.queues()
    consumers = make.consumers(pool)
    jobs = pool.batch_submit([(fail_if, False, 1), (ComesBackBroken,), (fail_if, False, 2)])
    consumers.join(timeout=30)
    assert [jobs[0].result(timeout=10), jobs[2].result(timeout=10)] == [1, 2]
    with pytest.raises(Exception, match="not here"):
        jobs[1].result(timeout=10)
    found = values_of(consumers.results())
    assert [value for value in found if isinstance(value, int)] == [1, 2]


def test_a_function_that_cannot_be_loaded_is_a_dead_letter_with_the_reason(make):
    pool = make.queues(retries=5, backoff=60)
    consumers = make.consumers(pool)
    jobs = pool.batch_submit([(fail_if, False, 1), (fail_if, False, ComesBackBroken()), (fail_if, False, 2)])
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == [1, 2]
    error = jobs[1].exception(timeout=10)
    assert isinstance(error, CannotLoadError)
    assert "not here" in str(error)


@pytest.mark.parametrize("threads", [1, 2])
def test_retries_run_a_task_again_until_it_returns(make, durable, tmp_path, threads):
    pool = make.queues(1, durable, retries=3, backoff=0.02)
    consumers = make.consumers(pool, max_concurrency=threads)
    job = pool.submit(note_and_fail, tmp_path / "tries", 2)
    consumers.join(timeout=30)
    assert values_of(consumers.results()) == [3]
    assert job.result(timeout=10) == 3


def test_a_task_out_of_retries_is_kept_as_a_dead_letter(make, durable, tmp_path):
    pool = make.queues(1, durable, retries=2, backoff=0.02)
    consumers = make.consumers(pool)
    job = pool.submit(note_and_fail, tmp_path / "tries", 99)
    consumers.join(timeout=30)
    assert str(job.exception(timeout=10)) == "try 3"
    assert values_of(consumers.results()) == []
    assert pool[0].status()["dead"] == 1


def test_without_retries_a_task_runs_once(make, tmp_path):
    pool = make.queues()
    consumers = make.consumers(pool)
    pool.submit(note_and_fail, tmp_path / "tries", 99)
    consumers.join(timeout=30)
    assert len((tmp_path / "tries").read_text().splitlines()) == 1


def test_the_pause_before_a_retry_doubles(make, tmp_path):
    pool = make.queues(retries=3, backoff=0.2)
    consumers = make.consumers(pool)
    job = pool.submit(note_and_fail, tmp_path / "tries", 3)
    assert job.result(timeout=30) == 4
    moments = [float(line) for line in (tmp_path / "tries").read_text().splitlines()]
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    # Jitter takes at most half of a pause away.
    assert all(pause >= 0.2 * 2**index / 2 for index, pause in enumerate(pauses)), pauses
    consumers.cancel()


def test_options_give_one_submit_retries_of_its_own(make, tmp_path):
    pool = make.queues(backoff=0.02)
    consumers = make.consumers(pool)
    stubborn = pool.options(retries=2).submit(note_and_fail, tmp_path / "with", 2)
    plain = pool.submit(note_and_fail, tmp_path / "without", 2)
    consumers.join(timeout=30)
    assert stubborn.result(timeout=10) == 3
    assert str(plain.exception(timeout=10)) == "try 1"


def test_a_failing_task_is_retried_beside_a_slice_of_good_ones(make, tmp_path):
    pool = make.queues(retries=1, backoff=0.02)
    consumers = make.consumers(pool)
    calls = [(fail_if, False, number) for number in range(500)]
    calls[250] = (note_and_fail, tmp_path / "tries", 1)
    jobs = pool.batch_submit(calls)
    consumers.join(timeout=30)
    assert jobs[250].result(timeout=10) == 2
    assert len(values_of(consumers.results())) == 500


class Picky(ConsumerBaseClass):
    """Refuses negative items."""

    def process_item(self, item):
        if item < 0:
            raise ValueError(f"negative: {item}")
        return item


def test_a_custom_consumer_that_raises_fails_the_item_only(make):
    pool = make.queues()
    consumers = make.consumers(pool, consumer_class=Picky)
    jobs = pool.put_many([1, -2, 3])
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == [1, 3]
    assert str(jobs[1].exception(timeout=10)) == "negative: -2"


class Unready(ConsumerBaseClass):
    def setup(self):
        raise RuntimeError("no database")

    def process_item(self, item):
        return item


def test_a_setup_that_raises_is_raised_by_start(make):
    pool = make.queues()
    consumers = make.consumers(pool, 2, consumer_class=Unready, start=False)
    with pytest.raises(RuntimeError, match="no database"):
        consumers.start()
    assert not consumers.started
