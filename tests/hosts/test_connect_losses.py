"""A connected pool goes on when its scheduler and its hosts are killed, and says so when they stay away."""

from __future__ import annotations

import threading

import pytest
from clusters import stopped, until

from daskqueue import connect
from daskqueue.errors import ConnectionFailedError, QueueLostError

from .processes import Site


@pytest.fixture(scope="module")
def lasting_site(tmp_path_factory):
    """One site for all tests here: to start its processes takes longer than all else."""
    site = Site(tmp_path_factory.mktemp("site"), "orders")
    site.its_scheduler = site.its_queue = site.its_consumer = None
    yield site
    site.close()


@pytest.fixture
def whole_site(lasting_site):
    """A scheduler, one shard and one consumer that are ready, whatever the test before has killed."""
    site = lasting_site
    for part, start in (
        ("its_scheduler", site.scheduler),
        ("its_queue", site.queue),
        ("its_consumer", site.consumer),
    ):
        former = getattr(site, part)
        if former is None or former.process.poll() is not None:
            setattr(site, part, start())
    site.its_queue.wait_ready()
    site.its_consumer.wait_ready()
    return site


def double(number):
    return 2 * number


class Later:
    """Something that another thread does meanwhile."""

    def __init__(self, function, *args):
        self._outcome = []
        self._thread = threading.Thread(target=self._run, args=[function, *args])
        self._thread.start()

    def _run(self, function, *args):
        try:
            self._outcome.append((function(*args), None))
        except BaseException as error:  # noqa: BLE001  it is raised where it is waited for
            self._outcome.append((None, error))

    @property
    def done(self):
        return not self._thread.is_alive()

    def result(self, seconds=60):
        self._thread.join(seconds)
        assert self.done, "still waiting"
        ((value, error),) = self._outcome
        if error is not None:
            raise error
        return value


def end_scheduler(site, how):
    if how == "killed":
        site.its_scheduler.kill()
    else:
        site.its_scheduler.stop()


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_pool_outlives_its_scheduler(whole_site, direct, how):
    with connect(whole_site.name, whole_site.address, direct=direct, timeout=5) as pool:
        before = pool.gather(pool.map(double, range(100)), timeout=30)
        end_scheduler(whole_site, how)
        until(lambda: whole_site.its_queue.get("/readyz")[0] == 503)
        submitting = Later(pool.map, double, range(100, 200))
        whole_site.its_scheduler = whole_site.scheduler()
        jobs = submitting.result()
        assert before + pool.gather(jobs, timeout=60) == [2 * number for number in range(200)]
        assert pool.submit(double, 7).result(timeout=20) == 14


def test_a_pool_that_is_closed_without_its_scheduler_says_nothing_more(whole_site, caplog):
    with connect(whole_site.name, whole_site.address) as pool:
        whole_site.its_scheduler.kill()
        until(lambda: pool.client.status == "connecting")
    assert pool.client.status == "closed"
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_the_client_finds_a_new_scheduler_soon(whole_site):
    """The client of Dask itself pauses for longer and longer."""
    with connect(whole_site.name, whole_site.address) as pool:
        whole_site.its_scheduler.kill()
        until(lambda: pool.client.status == "connecting")
        until(lambda: whole_site.its_queue.get("/readyz")[0] == 503)
        whole_site.its_scheduler = whole_site.scheduler()
        whole_site.its_queue.wait_ready()
        until(lambda: pool.client.status == "running", 8)


def test_who_waits_for_a_job_while_the_scheduler_is_replaced_gets_its_result(whole_site, gate):
    with connect(whole_site.name, whole_site.address) as pool:
        job = pool.submit(gate.wait, "through")
        waiting = Later(job.result)
        gathering = Later(pool.gather, [job])
        gate.expect()
        whole_site.its_scheduler.kill()
        until(lambda: whole_site.its_queue.get("/readyz")[0] == 503)
        whole_site.its_scheduler = whole_site.scheduler()
        whole_site.its_queue.wait_ready()
        gate.let()
        assert waiting.result() == "through"
        assert gathering.result() == ["through"]


def test_a_scheduler_that_is_away_longer_than_it_took_to_connect_is_waited_for(whole_site):
    """Dask's client gives up after the time that was given for its first connection; this one must not."""
    with connect(whole_site.name, whole_site.address, timeout=2) as pool:
        whole_site.its_scheduler.kill()
        submitting = Later(pool.submit, double, 5)
        with pytest.raises(ConnectionFailedError):
            connect(whole_site.name, whole_site.address, timeout=6)
        assert pool.client.status != "closed"
        whole_site.its_scheduler = whole_site.scheduler()
        assert submitting.result().result(timeout=30) == 10


def test_a_shard_that_comes_back_elsewhere_is_found_and_told_of(whole_site, caplog):
    caplog.set_level("INFO", "daskqueue")
    with connect(whole_site.name, whole_site.address) as pool:
        jobs = [pool.submit(double, 1)]
        whole_site.its_queue.kill()
        submitting = Later(pool.submit, double, 2)
        until(lambda: f"Shard 0 of queue '{whole_site.name}' is away" in caplog.text)
        assert not submitting.done
        whole_site.its_queue = whole_site.queue()
        whole_site.its_queue.wait_ready()
        jobs.append(submitting.result())
        assert pool.gather(jobs, timeout=30) == [2, 4]
        assert f"Shard 0 of queue '{whole_site.name}' is back" in caplog.text
        assert caplog.text.count("is away") == 1


def test_a_shard_that_stays_away_ends_in_an_error_that_says_where_to_look(whole_site, monkeypatch):
    monkeypatch.setattr("daskqueue.actors.producer.LOST_SECONDS", 3.0)
    with connect(whole_site.name, whole_site.address) as pool:
        whole_site.its_queue.kill()
        with pytest.raises(
            QueueLostError,
            match=rf"shard 0 of queue '{whole_site.name}' could not be reached for \d s: its host at .* is gone.*"
            rf"kubectl get dq {whole_site.name}.*pod {whole_site.name}-shard-0.*--shard 0",
        ):
            pool.submit(double, 1)


def test_a_host_that_has_stopped_ends_in_an_error_that_says_so(whole_site, monkeypatch):
    monkeypatch.setattr("daskqueue.actors.producer.LOST_SECONDS", 2.0)
    monkeypatch.setattr(
        "daskqueue.actors.producer.ROOM_SECONDS", -27.0
    )  # a call may take 30 s longer than this
    with connect(whole_site.name, whole_site.address) as pool:
        with (
            stopped(whole_site.its_queue.process.pid),
            pytest.raises(QueueLostError, match="does not answer"),
        ):
            pool.submit(double, 1)
        assert pool.submit(double, 2).result(timeout=30) == 4


def test_a_scheduler_that_has_stopped_does_not_stop_who_calls_shards_straight(whole_site):
    with connect(whole_site.name, whole_site.address) as pool:
        assert pool.submit(double, 1).result(timeout=30) == 2
        with stopped(whole_site.its_scheduler.process.pid):
            assert pool.gather(pool.map(double, range(50)), timeout=30)[-1] == 98


def test_a_scheduler_that_stays_away_is_named_in_the_error(whole_site, monkeypatch):
    monkeypatch.setattr("daskqueue.actors.producer.LOST_SECONDS", 3.0)
    with connect(whole_site.name, whole_site.address, direct=False) as pool:
        whole_site.its_scheduler.kill()
        with pytest.raises(QueueLostError, match=r"the scheduler (is away|has not answered)"):
            pool.submit(double, 1)


def test_a_pool_whose_shards_are_all_away_is_not_connected_to(whole_site):
    whole_site.its_queue.kill()
    with pytest.raises(QueueLostError, match="shard 0 of queue"):
        connect(whole_site.name, whole_site.address, timeout=2)


def test_the_other_shard_goes_on_while_one_is_away(whole_site):
    other = whole_site.queue(1)
    other.wait_ready()
    with connect(whole_site.name, whole_site.address) as pool:
        assert pool.n_queues == 2
        whole_site.its_queue.kill()
        waiting = [Later(pool.submit, double, number) for number in range(4)]
        until(lambda: sum(one.done for one in waiting) == 2)
        assert pool.gather([one.result() for one in waiting if one.done], timeout=20)
        assert {status["name"] for status in pool[1]._pool.sync(pool.statuses) if "lost" in status} == {
            "queue 0"
        }
        whole_site.its_queue = whole_site.queue()
        whole_site.its_queue.wait_ready()
        assert sorted(pool.gather([one.result() for one in waiting], timeout=30)) == [0, 2, 4, 6]
