"""What a notebook does, in a pod or anywhere else: finds the cluster by its name, and uses its queue.

python - NAME NAMESPACE < notebook.py
"""

import json
import sys
import time

from dask_kubernetes.operator import KubeCluster
from distributed import Client

import daskqueue


def triple(number):
    return 3 * number


def main(name, namespace):
    began_at = time.monotonic()
    cluster = KubeCluster.from_name(name, namespace=namespace, quiet=True)
    found = time.monotonic() - began_at
    with Client(cluster) as client, daskqueue.connect(name, client=client) as pool:
        jobs = pool.batch_submit((triple, i) for i in range(100))
        assert pool.gather(jobs, timeout=60) == [3 * i for i in range(100)]
    told = {"event": "done", "tasks": len(jobs), "found": found, "seconds": time.monotonic() - began_at}
    sys.stdout.write(json.dumps(told) + "\n")
    cluster.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
