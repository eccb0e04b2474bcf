"""Submits tasks, and leaves: prints the handles of its jobs for whoever comes later.

python leave.py HOW_MANY
"""

import base64
import pickle
import sys

from telling import tell

import daskqueue


def cube(number):
    return number**3


def main(how_many):
    with daskqueue.connect() as pool:
        jobs = pool.batch_submit((cube, i) for i in range(how_many))
        tell("left", tasks=len(jobs), handles=base64.b64encode(pickle.dumps(jobs)).decode())


main(int(sys.argv[1]))
