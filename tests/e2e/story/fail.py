"""Submits tasks of which some fail twice, some until they are mended, and one ends its process."""

import base64
import os
import pickle
import sys

from telling import tell

import daskqueue


def cube(number):
    if os.environ.get("MENDED") != "yes":
        raise LookupError(f"no such customer: {number}")
    return number**3


def third_time_lucky(number):
    if daskqueue.current().attempt < 3:
        raise ConnectionError(f"away: {number}")
    return number


def poison():
    os._exit(9)


def main(lucky, broken):
    with daskqueue.connect() as pool:
        killer = pool.submit(poison)
        unlucky = pool.map(cube, range(broken))
        returned = pool.gather(pool.map(third_time_lucky, range(lucky)), timeout=120)
        tell("retried", tasks=len(returned), wrong=sum(i != result for i, result in enumerate(returned)))
        errors = pool.gather([*unlucky, killer], timeout=120, errors="return")
        kinds = [type(error).__name__ for error in errors]
        tell("died", errors={kind: kinds.count(kind) for kind in kinds})
        tell("left", tasks=len(unlucky), handles=base64.b64encode(pickle.dumps(unlucky)).decode())


main(int(sys.argv[1]), int(sys.argv[2]))
