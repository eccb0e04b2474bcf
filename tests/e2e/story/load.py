"""Keeps a queue busy until SIGTERM: batch after batch of tasks of some milliseconds, every result looked at."""

import signal
import threading
import time
from collections import deque

from telling import tell

import daskqueue

BATCH = 300
OPEN = 3  # batches on the way at a time


def square_later(number):
    time.sleep(0.02)
    return number * number


def main():
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with daskqueue.connect() as pool:
        on_the_way, first, wrong = deque(), 0, 0
        while not stop.is_set() or on_the_way:
            if not stop.is_set() and len(on_the_way) < OPEN:
                numbers = range(first, first + BATCH)
                on_the_way.append((numbers, pool.batch_submit((square_later, i) for i in numbers)))
                first += BATCH
                tell("submitted", tasks=first)
            if stop.is_set() or len(on_the_way) == OPEN:
                wrong += looked_at(pool, *on_the_way.popleft())
        tell("end", tasks=first, wrong=wrong)
        assert not wrong


def looked_at(pool, numbers, jobs):
    """Return how many results of a batch are not what they must be."""
    results = pool.gather(jobs, timeout=180)
    wrong = sum(result != i * i for i, result in zip(numbers, results, strict=True))
    tell("checked", tasks=numbers.stop, wrong=wrong)
    return wrong


main()
