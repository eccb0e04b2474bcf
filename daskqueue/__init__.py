"""A persistent distributed task queue built on Dask actors."""

from daskqueue.connecting import connect
from daskqueue.consumer import ConsumerBaseClass, DummyConsumer, GeneralConsumer
from daskqueue.consumer_pool import ConsumerPool
from daskqueue.jobs.awaiting import wait
from daskqueue.jobs.completing import as_completed
from daskqueue.jobs.job import Job
from daskqueue.message import Call, Durability, Message, call
from daskqueue.middleware import Middleware
from daskqueue.pool import QueuePool
from daskqueue.running import Reject, Snooze, current
from daskqueue.submitting.options import Backoff

__version__ = "0.1.0"

__all__ = [
    "Backoff",
    "Call",
    "ConsumerBaseClass",
    "ConsumerPool",
    "DummyConsumer",
    "Durability",
    "GeneralConsumer",
    "Job",
    "Message",
    "Middleware",
    "QueuePool",
    "Reject",
    "Snooze",
    "as_completed",
    "call",
    "connect",
    "current",
    "wait",
]
