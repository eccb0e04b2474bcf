"""Arguments that cannot be: an error at the call that names the choices, and nothing changed."""

from __future__ import annotations

import re

import pytest

from daskqueue import ConsumerPool, Durability, GeneralConsumer, QueuePool
from daskqueue.errors import BatchError, WaitTimeoutError


def double(number):
    return 2 * number


def everything_below(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


BAD_QUEUES = {
    "no queues": ({"n_queues": 0}, ValueError, "n_queues is 0; it must be between 1 and 4095"),
    "fewer than none": ({"n_queues": -1}, ValueError, "n_queues is -1"),
    "too many queues": ({"n_queues": 5000}, ValueError, "between 1 and 4095"),
    "half a queue": ({"n_queues": 1.5}, TypeError, "n_queues is 1.5"),
    "a yes for a number": ({"n_queues": True}, TypeError, "n_queues is True"),
    "words for a number": ({"n_queues": "two"}, TypeError, "n_queues is 'two'"),
    "unknown durability": ({"durability": "eternal"}, ValueError, "'transient', 'durable'"),
    "durability of another kind": ({"durability": None}, ValueError, "'transient', 'durable'"),
    "unknown option": ({"queues": 2}, TypeError, "queues"),
    "empty name": ({"name": ""}, ValueError, "name is ''"),
    "a path for a name": ({"name": "../up"}, ValueError, "name is '../up'"),
    "a slash in the name": ({"name": "a/b"}, ValueError, "letters, digits"),
    "a number for a name": ({"name": 3}, (TypeError, ValueError), "name is 3"),
    "no room": ({"max_messages": 0}, ValueError, "max_messages is 0"),
    "less than no room": ({"max_messages": -5}, ValueError, "max_messages is -5"),
    "words for room": ({"max_messages": "many"}, TypeError, "max_messages"),
    "negative retries": ({"retries": -1}, ValueError, "retries is -1"),
    "half a retry": ({"retries": 1.5}, TypeError, "retries is 1.5"),
    "words for retries": ({"retries": "two"}, TypeError, "retries is 'two'"),
    "no duration": ({"backoff": "soon"}, ValueError, "backoff is 'soon'"),
    "a negative duration": ({"backoff": -1}, ValueError, "backoff is -1"),
    "no lease": ({"lease": 0}, ValueError, "lease is 0"),
    "a negative lease": ({"lease": "-3s"}, ValueError, "lease"),
    "unknown fsync": ({"fsync": "sometimes"}, ValueError, '"always", "never" or "interval:<milliseconds>"'),
    "an interval of nothing": ({"fsync": "interval:0"}, ValueError, "interval:<milliseconds>"),
    "an interval of words": ({"fsync": "interval:fast"}, ValueError, "interval:<milliseconds>"),
}


@pytest.mark.parametrize("case", BAD_QUEUES, ids=str)
@pytest.mark.parametrize("kind", ["transient", "durable"])
def test_a_queue_pool_refuses_and_changes_nothing(client, tmp_path, case, kind):
    options, error, words = BAD_QUEUES[case]
    if kind == "durable":
        options = {"durability": kind, "dirpath": tmp_path / "queues", **options}
    with pytest.raises(error, match=_literally(words)):
        QueuePool(client, **options)
    assert everything_below(tmp_path) == []


def test_a_folder_for_a_transient_pool_is_a_mistake(client, tmp_path):
    with pytest.raises(ValueError, match="durable"):
        QueuePool(client, dirpath=tmp_path / "queues")
    assert everything_below(tmp_path) == []


@pytest.mark.parametrize(
    "spelling",
    [Durability.DURABLE, "durable", "DURABLE", Durability.TRANSIENT, "transient", "TRANSIENT"],
    ids=str,
)
def test_durability_is_taken_in_all_spellings(make, tmp_path, spelling):
    durable = Durability.parse(spelling) is Durability.DURABLE
    pool = make.queues(durability=spelling, **({"dirpath": tmp_path / "queues"} if durable else {}))
    assert pool.durability is (Durability.DURABLE if durable else Durability.TRANSIENT)


BAD_CONSUMERS = {
    "no consumers": ({"n_consumers": 0}, ValueError, "n_consumers is 0"),
    "fewer than none": ({"n_consumers": -2}, ValueError, "n_consumers is -2"),
    "empty batches": ({"batch_size": 0}, ValueError, "batch_size is 0"),
    "no threads": ({"max_concurrency": 0}, ValueError, "max_concurrency is 0"),
    "half a consumer": ({"n_consumers": 0.5}, TypeError, "n_consumers is 0.5"),
    "unknown option": ({"consumers": 2}, TypeError, "consumers"),
    "a function for a class": ({"consumer_class": double}, TypeError, "ConsumerBaseClass"),
    "an instance for a class": ({"consumer_class": GeneralConsumer()}, TypeError, "ConsumerBaseClass"),
}


@pytest.mark.parametrize("case", BAD_CONSUMERS, ids=str)
def test_a_consumer_pool_refuses(make, case):
    options, error, words = BAD_CONSUMERS[case]
    pool = make.queues()
    with pytest.raises(error, match=_literally(words)):
        ConsumerPool(make.client, pool, **options)


def test_a_consumer_pool_wants_a_queue_pool(client):
    with pytest.raises(TypeError, match="must be a QueuePool"):
        ConsumerPool(client, ["queue"])


@pytest.mark.parametrize("client", [3, "tcp://127.0.0.1:1"], ids=str)
def test_a_client_that_is_none_is_refused(client):
    with pytest.raises(TypeError, match="client"):
        QueuePool(client)


BAD_SUBMITS = {
    "no function": (lambda pool: pool.submit(3), TypeError, "3"),
    "no function in a batch": (lambda pool: pool.batch_submit([(double, 1), (3,)]), TypeError, "call 1"),
    "an empty call": (lambda pool: pool.batch_submit([()]), TypeError, "empty"),
    "an empty batch size": (
        lambda pool: pool.batch_submit([(double, 1)], batch_size=0),
        ValueError,
        "batch_size is 0",
    ),
    "no iterable": (lambda pool: pool.batch_submit(3), TypeError, "iterable"),
    "a function for calls": (lambda pool: pool.batch_submit(double), TypeError, "iterable"),
    "unknown option of a batch": (lambda pool: pool.batch_submit([(double, 1)], size=3), TypeError, "size"),
    "nothing to map over": (lambda pool: pool.map(double), TypeError, "iterable"),
    "an argument that cannot be pickled": (
        lambda pool: pool.submit(double, (x for x in ())),
        BatchError,
        "pickle",
    ),
    "one of many that cannot": (
        lambda pool: pool.batch_submit([(double, 1), (double, (x for x in ()))]),
        BatchError,
        "call 1 cannot be pickled",
    ),
    "an item that cannot": (lambda pool: pool.put(x for x in ()), BatchError, "pickle"),
    "negative retries": (lambda pool: pool.options(retries=-1), ValueError, "retries is -1"),
    "half a retry": (lambda pool: pool.options(retries=0.5), TypeError, "retries is 0.5"),
    "a delay of words": (lambda pool: pool.options(delay="soon"), ValueError, "delay is 'soon'"),
    "a negative timeout": (lambda pool: pool.options(timeout=-1), ValueError, "timeout is -1"),
    "an unknown option": (lambda pool: pool.options(colour="red"), TypeError, "colour"),
}


@pytest.mark.parametrize("case", BAD_SUBMITS, ids=str)
def test_a_submit_refuses_and_the_pool_goes_on(make, case):
    use, error, words = BAD_SUBMITS[case]
    pool = make.queues()
    with pytest.raises(error, match=_literally(words)):
        use(pool)
    assert sum(pool.get_queue_size().values()) == 0
    make.consumers(pool)
    assert pool.submit(double, 2).result(timeout=10) == 4


def test_a_generator_that_raises_in_the_middle_is_heard(make):
    def calls():
        yield (double, 1)
        yield (double, 2)
        raise OSError("no more")

    pool = make.queues()
    with pytest.raises(OSError, match="no more"):
        pool.batch_submit(calls(), batch_size=1)
    assert sum(pool.get_queue_size().values()) <= 2


def test_a_timeout_is_a_duration_as_everywhere(make):
    job = make.queues().submit(double, 2)
    with pytest.raises(WaitTimeoutError, match=r"not done after 0\.05 s"):
        job.result(timeout="50ms")
    with pytest.raises(ValueError, match="timeout is 'soon'"):
        job.exception(timeout="soon")


def test_a_join_timeout_that_is_no_number_is_refused(make):
    consumers = make.consumers(make.queues())
    with pytest.raises(ValueError, match="timeout is 'soon'"):
        consumers.join(timeout="soon")
    consumers.cancel()


def _literally(words):
    return re.escape(words)
