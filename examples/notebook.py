"""The notebook of daskqueue, every step of it, as a script.

    python examples/notebook.py            100,000 messages, as in the notebook
    python examples/notebook.py --n 1000   fewer

It writes to ./notebooks/queue_dir, and removes what an earlier run left there.
"""

import argparse
import shutil
from pathlib import Path
from pprint import pprint

from distributed import Client, LocalCluster

from daskqueue import ConsumerPool, QueuePool

DIRPATH = "notebooks/queue_dir"


def process_item():
    return sum(i * i for i in range(10**2))


def getting_started(client):
    """Ten tasks, one by one, through two queues in memory."""
    queue_pool = QueuePool(client, n_queues=2)
    print(queue_pool)

    consumer_pool = ConsumerPool(client, queue_pool, n_consumers=2)
    print(consumer_pool)

    for _ in range(10):
        queue_pool.submit(process_item)
    print(queue_pool)

    consumer_pool.start()
    consumer_pool.join()
    pprint(consumer_pool.results())
    return queue_pool


def batch_submission(client, queue_pool, n_msgs):
    """Many tasks at once, through the same queues."""
    consumer_pool = ConsumerPool(client, queue_pool, n_consumers=5, batch_size=1000)
    print(consumer_pool)

    queue_pool.batch_submit([(process_item,) for _ in range(n_msgs)], batch_size=10_000)
    consumer_pool.start()
    consumer_pool.join(progress=True)
    print(consumer_pool)


def open_durable_pool(client):
    """The same queues in a folder: found again whenever they are opened with the same arguments."""
    queue_pool = QueuePool(client, 2, durability="durable", dirpath=DIRPATH)
    print(queue_pool)
    return queue_pool


def submit_and_restart(client, queue_pool, n_msgs):
    """A sudden shutdown of the whole cluster, with all messages still to be done."""
    print_files()
    tasks = [(process_item,) for _ in range(n_msgs)]
    queue_pool.batch_submit(tasks, batch_size=10_000)
    print(queue_pool)
    print_files()

    client.restart()
    try:
        print(queue_pool)
    except Exception as e:  # noqa: BLE001  as in the notebook
        print(e)


def consume(client, queue_pool, n_msgs):
    """Nothing was lost."""
    consumer_pool = ConsumerPool(client, queue_pool, n_consumers=4, batch_size=1000)
    print(consumer_pool)
    consumer_pool.start()
    consumer_pool.join(progress=True)
    print(consumer_pool)

    assert sum([len(r) for _, r in consumer_pool.results().items()]) == n_msgs


def print_files():
    for path in sorted(Path(DIRPATH).rglob("*.*")):
        print(f"{path.stat().st_size:>10,} bytes  {path}")


def main():
    parser = argparse.ArgumentParser(description="Run the notebook of daskqueue.")
    parser.add_argument("--n", type=int, default=100_000, help="how many messages (default: 100,000)")
    n_msgs = parser.parse_args().n
    if n_msgs < 0:
        parser.error(f"--n is {n_msgs}; it must be 0 or more")
    with (
        LocalCluster(n_workers=4, threads_per_worker=3, dashboard_address=None) as cluster,
        Client(cluster, direct_to_workers=True) as client,
    ):
        queue_pool = getting_started(client)
        batch_submission(client, queue_pool, n_msgs)

        shutil.rmtree(DIRPATH, ignore_errors=True)
        client.restart()
        queue_pool = open_durable_pool(client)
        submit_and_restart(client, queue_pool, n_msgs)
        queue_pool = open_durable_pool(client)
        consume(client, queue_pool, n_msgs)


if __name__ == "__main__":
    main()
