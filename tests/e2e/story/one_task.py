"""Submits one task of some seconds, and tells where it began and what came back: python one_task.py SECONDS"""

import socket
import sys
import time

from telling import tell

import daskqueue


def work(seconds):
    began_at = time.time()
    time.sleep(seconds)
    return socket.gethostname(), began_at, time.time()


def main(seconds):
    with daskqueue.connect() as pool:
        job = pool.submit(work, seconds)
        tell("submitted")
        host, began_at, ended_at = job.result(timeout=240)
        tell("done", host=host, began_at=began_at, ended_at=ended_at)


main(float(sys.argv[1]))
