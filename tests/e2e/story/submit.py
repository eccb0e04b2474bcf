"""The story's producer: many short and some slow tasks through one pool, every result looked at.

python submit.py HOW_MANY: one task in ten takes 100 ms, the others microseconds.
"""

import sys
import time

from telling import tell

import daskqueue


def square(number):
    return number * number


def slow_square(number):
    time.sleep(0.1)
    return number * number


def main(how_many):
    with daskqueue.connect() as pool:
        began_at = time.monotonic()
        tell("submitting", tasks=how_many)
        calls = ((slow_square if i % 10 == 9 else square, i) for i in range(how_many))
        jobs = pool.batch_submit(calls)
        tell("submitted", tasks=len(jobs), seconds=time.monotonic() - began_at)
        assert jobs[0].result(timeout=120) == 0
        tell("first result", seconds=time.monotonic() - began_at)
        results = pool.gather(jobs, timeout=240)
        wrong = [i for i, result in enumerate(results) if result != i * i]
        seconds = time.monotonic() - began_at
        tell("checked", tasks=len(results), wrong=len(wrong), examples=wrong[:5], seconds=seconds)
        assert len(results) == how_many
        assert not wrong


main(int(sys.argv[1]))
