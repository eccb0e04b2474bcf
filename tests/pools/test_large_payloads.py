"""Large arguments and results: arrays travel without copies, and there is a limit that says what to do."""

from __future__ import annotations

import numpy as np
import pytest

from daskqueue.errors import PayloadTooLargeError

ITEMS = 5 << 18  # 10 MiB of floats: its record batch has a file of its own


def look(array):
    """Return what the array adds up to, and whether it can be written to."""
    return float(array.sum()), array.flags.writeable


def twice(array):
    return array * 2


def test_a_large_array_comes_to_its_task_as_a_read_only_view_and_back_as_ones_own(make, durable):
    pool = make.queues(durable=durable)
    array = np.arange(ITEMS, dtype=float)
    seen, doubled = pool.submit(look, array), pool.submit(twice, array)
    waiting = pool.peek(2)[0]
    assert np.array_equal(waiting.args[0], array)
    assert pool.stats().total["message_bytes"] > 2 * array.nbytes
    make.consumers(pool).join(timeout=60)
    assert seen.result(timeout=30) == (float(array.sum()), False)
    result = doubled.result(timeout=30)
    result += 1
    assert np.array_equal(result, array * 2 + 1)


def test_many_arrays_of_a_batch_arrive_whole(make):
    pool = make.queues()
    arrays = [np.full(ITEMS // 4, number, dtype=float) for number in range(8)]
    jobs = pool.map(twice, arrays)
    make.consumers(pool).join(timeout=60)
    for number, result in enumerate(pool.gather(jobs, timeout=30)):
        assert set(np.unique(result)) == {2.0 * number}


def test_a_call_beyond_the_limit_is_refused_and_puts_nothing(make):
    pool = make.queues(max_payload_bytes=1 << 20)
    with pytest.raises(
        PayloadTooLargeError, match=r"2,.* bytes.* 1,048,576 .*max_payload_bytes.*send its name"
    ):
        pool.submit(look, np.zeros(1 << 18))
    with pytest.raises(PayloadTooLargeError, match="call 1 is too large"):
        pool.batch_submit([(look, 1), (look, b"x" * (2 << 20))])
    with pytest.raises(PayloadTooLargeError, match="item 0 is too large"):
        pool.put(bytearray(2 << 20))
    assert list(pool.get_queue_size().values()) == [0]


def test_a_queue_bounded_by_bytes_takes_what_fits_and_goes_on_when_there_is_room(make):
    pool = make.queues(max_bytes=4 << 20)
    jobs = pool.map(len, [b"x" * (1 << 20) for _ in range(3)], batch_size=1)
    consumers = make.consumers(pool)
    more = pool.map(len, [b"y" * (1 << 20) for _ in range(6)], batch_size=1)
    consumers.join(timeout=60)
    assert pool.gather([*jobs, *more], timeout=30) == [1 << 20] * 9
