"""Submits one task after the other until SIGTERM, and says when each came back.

That is what a user feels while things break.
"""

import signal
import threading
import time

from telling import tell

import daskqueue


def echo(number):
    return number


def main():
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with daskqueue.connect() as pool:
        number = 0
        while not stop.wait(0.05):
            began_at = time.monotonic()
            job = pool.submit(echo, number)
            put = time.monotonic() - began_at
            assert job.result(timeout=180) == number
            tell("back", number=number, put=round(put, 4), took=round(time.monotonic() - began_at, 4))
            number += 1
        tell("end", tasks=number, wrong=0)


main()
