"""Single calls that gather in record batches: which go together, when they leave, what they mean by then."""

from __future__ import annotations

import asyncio
import fractions
import functools
import itertools
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from daskqueue.actors.producer import Placed
from daskqueue.batch import Batch
from daskqueue.errors import BatchError, QueueLostError
from daskqueue.submitting.lingering import CALL_BYTES, LARGE_BYTES, MOST_ON_THE_WAY, Lingerer
from daskqueue.submitting.options import SubmitOptions

LONG = SubmitOptions(linger_seconds=3600.0)


def double(number):
    return 2 * number


def triple(number, *, times=3):
    return times * number


class Unpicklable:
    def __reduce__(self):
        raise TypeError("never")


class Sent:
    """Stands for the queues: keeps what was sent, and puts it when it is told to."""

    def __init__(self):
        self.batches = []
        self.arrived = threading.Semaphore(0)
        self.holds = False
        self._on_the_way = []

    def send(self, data, options, names, placed):
        calls = [(call.function, *call.args, dict(call.kwargs)) for call in Batch.parse(data).messages()]
        self.batches.append((calls, options, names))
        self._on_the_way.append(placed)
        if not self.holds:
            self.put()
        self.arrived.release()
        return placed

    def put(self, error=None):
        for place, placed in enumerate(self._on_the_way):
            if error is None:
                placed.set_result(Placed(0, 1, place))
            else:
                placed.set_exception(error)
        self._on_the_way.clear()

    @property
    def all_arguments(self):
        return list(itertools.chain.from_iterable(self.arguments))

    @property
    def arguments(self):
        """The first argument of each call, batch by batch."""
        return [[call[1] for call in calls] for calls, *_ in self.batches]


@pytest.fixture
def loop():
    """A running event loop, as a client has one."""
    running = asyncio.new_event_loop()
    thread = threading.Thread(target=running.run_forever, daemon=True)
    thread.start()
    yield running
    running.call_soon_threadsafe(running.stop)
    thread.join(timeout=10)
    running.close()


@pytest.fixture
def sent():
    return Sent()


@pytest.fixture
def open_pool():
    """Stands for the connection of an open pool."""
    spec = SimpleNamespace(settings=SimpleNamespace(max_payload_bytes=1 << 30))
    return SimpleNamespace(queues=SimpleNamespace(check_open=lambda: None, spec=spec))


@pytest.fixture
def linger(loop, sent, open_pool):
    """Adds a call; ``linger.lingerer`` is what it is added to."""
    lingerer = Lingerer(sent, loop, 1000, asynchronous=False)

    def add(function, *args, options=LONG, **kwargs):
        return lingerer.add(function, args, kwargs, options, open_pool)

    add.lingerer = lingerer
    yield add
    sent.put()
    lingerer.settle(10)


def test_calls_share_a_batch_in_their_order(linger, sent):
    places = [linger(double, number) for number in range(5)]
    places.append(linger(triple, 5, times=4))
    assert sent.batches == [], "nothing leaves before its time"
    linger.lingerer.send()
    assert [place for _, place in places] == list(range(6))
    assert len({id(future) for future, _ in places}) == 1
    ((calls, options, _),) = sent.batches
    assert calls == [*((double, number, {}) for number in range(5)), (triple, 5, {"times": 4})]
    assert options is LONG
    assert places[0][0].result(timeout=0) == Placed(0, 1, 0)


def test_a_batch_leaves_when_its_time_is_up(linger, sent):
    future, _ = linger(double, 1, options=SubmitOptions(linger_seconds=0.001))
    assert future.result(timeout=10) == Placed(0, 1, 0)
    assert sent.arguments == [[1]]


def test_a_batch_leaves_when_it_is_full(loop, sent, open_pool):
    lingerer = Lingerer(sent, loop, 10, asynchronous=False)
    for number in range(25):
        lingerer.add(double, (number,), {}, LONG, open_pool)
    assert [len(batch) for batch in sent.arguments] == [10, 10]
    lingerer.settle()
    assert sent.all_arguments == list(range(25))


def test_a_batch_leaves_when_it_is_large(linger, sent):
    text = "x" * (LARGE_BYTES // 2)
    for _ in range(2 * CALL_BYTES // len(text)):
        linger(double, text)
    assert 1 <= len(sent.batches) <= 3


def test_a_large_call_gains_nothing_by_waiting(linger, sent):
    linger(double, 1)
    for large in (b"x" * 2 * LARGE_BYTES, bytearray(2 * LARGE_BYTES)):
        _, place = linger(double, large)
        assert place == 0
    assert [arguments for arguments in sent.arguments if arguments == [1]] == []
    assert len(sent.batches) == 2


@pytest.mark.parametrize("before", [[1], {"a": 1}, bytearray(b"a"), (1, [2])], ids=str)
def test_an_argument_is_what_it_was_at_the_call(linger, sent, before):
    changing = before
    was = repr(before)
    linger(double, changing)
    linger(triple, 1, times=changing)
    (changing[1] if isinstance(changing, tuple) else changing).clear()
    linger.lingerer.send()
    ((calls, *_),) = sent.batches
    assert [repr(calls[0][1]), repr(calls[1][2]["times"])] == [was, was]


def test_a_closure_is_what_it_was_at_the_call(linger, sent):
    for number in range(3):
        linger(lambda: number)  # noqa: B023  what users write in loops
    linger.lingerer.send()
    assert [calls[0][0]() for calls, *_ in sent.batches] == [0, 1, 2]


@pytest.mark.parametrize(
    "function", [functools.partial(double, 1), [].append, fractions.Fraction(1, 3).limit_denominator], ids=str
)
def test_what_may_change_does_not_wait(linger, sent, function):
    linger(function, 1)
    assert len(sent.batches) == 1


def test_what_cannot_be_pickled_is_heard_at_the_call_and_the_others_leave(linger, sent):
    linger(double, 1)
    with pytest.raises(BatchError, match="never"):
        linger(double, Unpicklable())
    with pytest.raises(BatchError, match="never"):
        linger(triple, 1, times=Unpicklable())

    def carries(thing=None):
        return thing

    carries.__defaults__ = (Unpicklable(),)
    with pytest.raises(BatchError, match="never"):
        linger(carries)
    linger(double, 2)
    linger.lingerer.settle()
    assert sent.arguments == [[1, 2]]


def test_a_closed_pool_is_heard_at_the_call(loop, sent):
    def closed():
        raise QueueLostError("closed")

    lingerer = Lingerer(sent, loop, 10, asynchronous=False)
    owner = SimpleNamespace(queues=SimpleNamespace(check_open=closed))
    with pytest.raises(QueueLostError):
        lingerer.add(double, (1,), {}, LONG, owner)


def test_other_options_make_another_batch(linger, sent):
    urgent = SubmitOptions(linger_seconds=3600.0, retries=1)
    for number in range(6):
        linger(double, number, options=urgent if number % 2 else LONG)
    linger.lingerer.send()
    assert sent.arguments == [[0, 2, 4], [1, 3, 5]]


def test_equal_options_share_a_batch(linger, sent):
    for number in range(3):
        linger(double, number, options=SubmitOptions(linger_seconds=3600.0, group="a"))
    linger.lingerer.send()
    assert sent.arguments == [[0, 1, 2]]


def test_names_are_made_of_what_was_given(linger, sent):
    options = SubmitOptions(linger_seconds=3600.0, group=lambda letters, **_: letters[0])
    linger(double, ["a"], options=options)
    linger(triple, ["b"], times=[1], options=options)
    linger(double, ["c"], options=SubmitOptions(linger_seconds=3600.0, key=lambda letters: letters[0]))
    linger.lingerer.send()
    assert sorted(names.deciding for _, _, names in sent.batches) == ["a", "b", "c"]


def test_each_group_has_a_batch(linger, sent):
    options = SubmitOptions(linger_seconds=3600.0, group=lambda number: "even" if number % 2 == 0 else "odd")
    for number in range(6):
        linger(double, number, options=options)
    linger.lingerer.send()
    assert sent.arguments == [[0, 2, 4], [1, 3, 5]]
    assert [names.group for _, _, names in sent.batches] == ["even", "odd"]


def test_nothing_overtakes_in_a_group(linger, sent):
    linger(double, 0, options=SubmitOptions(linger_seconds=3600.0, group="a"))
    linger(double, 1, options=SubmitOptions(linger_seconds=3600.0, group="a", retries=1))
    linger(functools.partial(double, 2), 2, options=SubmitOptions(linger_seconds=3600.0, group="a"))
    linger(double, 3, options=SubmitOptions(linger_seconds=3600.0, group="b"))
    linger.lingerer.send()
    assert sent.arguments == [[0], [1], [2], [3]]


def test_a_key_does_not_wait(linger, sent):
    linger(double, 1, options=SubmitOptions(linger_seconds=3600.0, key=str))
    assert [names.key for _, _, names in sent.batches] == ["1"]


def test_the_first_failure_is_raised_once(linger, sent):
    sent.holds = True
    future, _ = linger(double, 1)
    linger.lingerer.send()
    sent.put(QueueLostError("gone"))
    linger(double, 2)
    linger.lingerer.send()
    sent.put()
    with pytest.raises(QueueLostError, match="gone"):
        linger.lingerer.settle(10)
    assert isinstance(future.exception(timeout=0), QueueLostError)
    linger.lingerer.settle(10)


def test_too_much_on_the_way_is_waited_for(linger, sent):
    sent.holds = True
    for number in range(MOST_ON_THE_WAY + 1000):
        linger(double, number)
    lingerer = linger.lingerer
    assert lingerer.crowded
    waiting = threading.Thread(target=lingerer.make_room)
    waiting.start()
    assert waiting.is_alive()
    sent.put()
    waiting.join(timeout=10)
    assert not waiting.is_alive()
    assert not lingerer.crowded


def test_the_loop_does_not_wait_for_somebody_who_sends(linger, sent, loop):
    """Who sends pickles what users gave, and that may need the loop."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow:
        def __reduce__(self):
            entered.set()
            assert go_on.wait(10)
            return int, (7,)

    quick = SubmitOptions(linger_seconds=0.001)
    sending = threading.Thread(target=lambda: linger(functools.partial(double, Slow()), options=LONG))
    sending.start()
    assert entered.wait(10)
    future, _ = linger(double, 1, options=quick)
    looked: Future[int] = Future()
    loop.call_soon_threadsafe(lambda: loop.call_later(0.01, looked.set_result, 1))
    assert looked.result(timeout=10) == 1
    go_on.set()
    sending.join(timeout=10)
    assert future.result(timeout=10)


def test_threads_lose_nothing(linger, sent):
    def submit(start):
        for number in range(start, start + 2000):
            linger(double, number)

    threads = [threading.Thread(target=submit, args=(2000 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    linger.lingerer.settle()
    assert sorted(sent.all_arguments) == list(range(8000))
