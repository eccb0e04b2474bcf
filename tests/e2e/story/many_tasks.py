"""Submits tasks of some seconds each and looks at every result: python many_tasks.py HOW_MANY SECONDS"""

import sys
import time

from telling import tell

import daskqueue


def square_later(number, seconds):
    time.sleep(seconds)
    return number * number


def main(how_many, seconds):
    with daskqueue.connect() as pool:
        jobs = pool.batch_submit((square_later, number, seconds) for number in range(how_many))
        tell("submitted", tasks=len(jobs))
        results = pool.gather(jobs, timeout=240)
        wrong = [number for number, result in enumerate(results) if result != number * number]
        tell("checked", tasks=len(results), wrong=len(wrong))
        assert not wrong


main(int(sys.argv[1]), float(sys.argv[2]))
