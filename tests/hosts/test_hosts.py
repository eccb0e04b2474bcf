"""Hosts as plain processes: what they do when schedulers, users and signals come and go."""

from __future__ import annotations

import json

import pytest
from clusters import until
from distributed import Client, get_worker

import daskqueue


def double(x):
    return 2 * x


def connect(site, **options):
    return daskqueue.connect(site.name, site.address, **options)


def test_a_task_goes_through_hosts_and_back(shared_site):
    with connect(shared_site) as pool:
        assert pool.gather(pool.map(double, range(3000))) == [2 * i for i in range(3000)]


def test_a_host_waits_for_a_scheduler_that_is_not_there_yet_and_says_so(site):
    queue, consumer = site.queue(), site.consumer()
    queue.says("is open")
    code, reason = queue.get("/readyz")
    assert (code, reason.strip()) == (503, f"waiting for the scheduler at {site.address}")
    consumer.wait_ready()  # its process serves, whatever else is away
    site.scheduler()
    queue.wait_ready()
    with connect(site) as pool:
        assert pool.submit(double, 21).result(timeout=30) == 42


def test_a_killed_scheduler_costs_no_message_and_no_second_run(whole_site, tmp_path):
    ran = tmp_path / "ran"

    def note(i):
        with open(ran, "a") as file:
            file.write(f"{i}\n")
        return i

    with connect(whole_site) as pool:
        first = pool.map(note, range(200))
        whole_site.its_scheduler.kill()
        whole_site.its_queue.says("joining again")
        whole_site.scheduler()
        second = pool.map(note, range(200, 400))
        assert pool.gather([*first, *second], timeout=60) == list(range(400))
    assert sorted(map(int, ran.read_text().split())) == list(range(400))


def test_a_consumer_goes_on_with_its_task_while_the_scheduler_is_away(whole_site, gate):
    with connect(whole_site) as pool:
        job = pool.submit(gate.wait, "once")
        gate.expect(1)
        whole_site.its_scheduler.kill()
        whole_site.its_consumer.says("joining again")
        whole_site.scheduler()
        whole_site.its_queue.wait_ready()
        gate.let(1)
        assert job.result(timeout=30) == "once"
    status = whole_site.its_queue.stats
    assert status["acked"] == 1
    assert status["messages"] == {"ready": 0, "leased": 0, "delayed": 0, "dead": 0}


def test_a_restart_and_a_retirement_by_a_user_do_not_take_the_hosts(shared_site):
    with connect(shared_site) as pool, Client(shared_site.address, set_as_default=False) as client:
        before = set(client.ncores())
        client.restart()
        client.retire_workers(list(client.ncores()))
        until(lambda: set(client.ncores()) == before, 20)
        assert pool.submit(double, 4).result(timeout=30) == 8


def test_tasks_of_dask_run_on_consumers_and_never_on_queue_hosts(shared_site):
    with Client(shared_site.address, set_as_default=False) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        queue_host = {address for address, known in workers.items() if known["status"] == "paused"}
        assert len(queue_host) == 1

        def where(_):
            return get_worker().address

        found = set(client.gather(client.map(where, range(50), pure=False)))
        assert found
        assert not found & queue_host


def test_a_shard_killed_in_the_middle_is_back_with_all_its_messages(whole_site):
    with connect(whole_site) as pool:
        jobs = pool.map(double, range(20_000))
        whole_site.its_queue.kill()
        whole_site.queue()
        assert pool.gather(jobs, timeout=60) == [2 * i for i in range(20_000)]


def test_what_a_killed_consumer_held_is_run_by_another(whole_site, gate):
    with connect(whole_site) as pool:
        job = pool.submit(gate.wait, "again")
        gate.expect(1)
        whole_site.its_consumer.kill()
        whole_site.consumer().wait_ready()
        gate.expect(1)  # long before the lease of a minute ends
        gate.let(1)
        assert job.result(timeout=30) == "again"


def test_a_stopped_consumer_finishes_what_runs_and_gives_back_the_rest(whole_site, gate):
    with connect(whole_site) as pool:
        jobs = [pool.submit(gate.wait, number) for number in range(3)]
        gate.expect(1)
        whole_site.its_consumer.process.terminate()
        whole_site.its_consumer.says("Stopping")
        gate.let(1)
        assert whole_site.its_consumer.process.wait(20) == 0
        assert [job.status for job in jobs] == ["finished", "pending", "pending"]
        whole_site.consumer()
        gate.let(2)
        assert pool.gather(jobs, timeout=30) == [0, 1, 2]


def test_a_task_longer_than_the_drain_is_given_back_without_burning_an_attempt(site, gate):
    site.scheduler()
    queue = site.queue()
    consumer = site.consumer("--drain", "200ms")
    queue.wait_ready()
    with connect(site) as pool:
        job = pool.submit(gate.wait, "later")
        gate.expect(1)
        assert consumer.stop() == 0
        until(lambda: queue.stats["messages"]["ready"] == 1)
        site.consumer()
        gate.expect(1)
        gate.let(2)  # the first one's process is gone, its permit is still there
        assert job.result(timeout=30) == "later"
    assert queue.stats["messages"]["dead"] == 0


def test_a_drained_consumer_leases_nothing_until_it_is_told_to_go_on(shared_site, gate):
    consumer = shared_site.its_consumer
    with connect(shared_site) as pool:
        running = pool.submit(gate.wait, "running")
        gate.expect(1)
        code, text = consumer.get("/drain", "POST")
        assert (code, json.loads(text)["draining"]) == (200, True)
        waiting = pool.submit(double, 1)
        gate.let(1)
        assert running.result(timeout=10) == "running"
        until(lambda: consumer.stats["held"] == 0)
        assert waiting.status == "pending"
        assert consumer.get("/drain", "DELETE")[0] == 200
        assert waiting.result(timeout=10) == 2


def test_a_queue_host_says_that_it_cannot_be_drained(shared_site):
    code, text = shared_site.its_queue.get("/drain", "POST")
    assert code == 405
    assert "drain its consumers" in text


def test_a_stopped_queue_host_flushes_and_its_successor_has_everything(whole_site):
    whole_site.its_consumer.stop()
    with connect(whole_site) as pool:
        pool.map(double, range(1000))
        assert whole_site.its_queue.stop() == 0
        successor = whole_site.queue()
        successor.wait_ready()
        assert successor.stats["messages"]["ready"] == 1000


def test_a_second_host_of_the_same_shard_waits_for_the_folder_and_takes_over(whole_site):
    second = whole_site.queue()
    second.says("Waiting for the folder")
    assert "is reading its log, or waits for its folder" in second.get("/readyz")[1]
    whole_site.its_queue.kill()
    second.wait_ready()
    with connect(whole_site) as pool:
        assert pool.submit(double, 3).result(timeout=30) == 6


def test_a_pool_grows_while_clients_and_consumers_use_it(whole_site):
    with connect(whole_site) as pool:
        assert pool.submit(double, 1).result(timeout=30) == 2
        second = whole_site.queue(1)
        second.wait_ready()
        until(lambda: pool.submit(double, 1).result(timeout=30) and pool.n_queues == 2, 20)
        assert pool.gather(pool.map(double, range(4000), batch_size=100), timeout=30) == [
            2 * i for i in range(4000)
        ]
    assert second.stats["acked"] > 0


def test_get_worker_in_a_task_is_the_present_worker(shared_site):
    def address():
        return get_worker().address, str(get_worker().status)

    with connect(shared_site) as pool:
        before = pool.submit(address).result(timeout=30)
        with Client(shared_site.address, set_as_default=False) as client:
            client.restart()
        assert pool.submit(address).result(timeout=30) == before == (before[0], "Status.running")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["queue", "--name", "a b", "--scheduler", "tcp://x:1", "--dir", "d"], "use letters, digits"),
        (["queue", "--name", "a", "--scheduler", "x:1", "--dir", "d"], "tcp://HOST:8786"),
        (["queue", "--name", "a", "--scheduler", "tcp://x:1"], "--dir"),
        (
            ["queue", "--name", "a", "--scheduler", "tcp://x:1", "--dir", "d", "--lease", "soon"],
            "lease is 'soon'",
        ),
        (
            ["queue", "--name", "a", "--scheduler", "tcp://x:1", "--dir", "d", "--fsync", "x"],
            "unknown fsync 'x'",
        ),
        (["consumer", "--name", "a", "--scheduler", "tcp://x:1", "--slots", "0"], "--slots"),
        (["consumer", "--name", "a", "--scheduler", "tcp://x:1", "--drain", "x"], "drain is 'x'"),
        (["consumer", "--name", "a", "--scheduler", "tcp://x:1", "--log-level", "loud"], "log-level"),
    ],
)
def test_a_bad_option_is_told_in_a_sentence_and_nothing_starts(serve, command, words):
    code, text = serve(command)
    assert code == 2
    assert words in text
    assert "Traceback" not in text


def test_a_folder_that_cannot_be_used_is_told_in_a_sentence(serve, tmp_path):
    (tmp_path / "file").write_text("")
    command = ["queue", "--name", "a", "--scheduler", "tcp://127.0.0.1:9", "--dir", tmp_path / "file"]
    code, text = serve(command)
    assert code == 1
    assert "cannot be used" in text
    assert "Traceback" not in text


def test_settings_come_from_flag_variable_file_and_default_in_this_order(site, tmp_path):
    file = tmp_path / "consumer.yaml"
    file.write_text("slots: 3\nbatch_size: 7\ndrain: 5s\n")
    variables = {"DASKQUEUE_CONFIG": str(file), "DASKQUEUE_SLOTS": "4"}
    consumer = site.consumer(environment=variables)
    consumer.wait_ready()
    assert consumer.stats["slots"] == 4
    consumer = site.consumer("--slots", "5", environment=variables)
    consumer.wait_ready()
    assert consumer.stats["slots"] == 5
    consumer = site.consumer("--config", file, "--log-level", "warning")
    consumer.wait_ready()
    assert consumer.stats["slots"] == 3


def test_a_file_with_an_unknown_key_is_refused_with_the_keys_there_are(serve, tmp_path):
    file = tmp_path / "consumer.yaml"
    file.write_text("slotz: 3\n")
    code, text = serve(["consumer", "--name", "a", "--scheduler", "tcp://x:1", "--config", file])
    assert code == 2
    assert "slotz" in text
    assert "slots" in text
