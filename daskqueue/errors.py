"""What can go wrong, whose fault it is, and whether a retry helps.

DaskQueueError
├── BatchError               bytes that are no record batch, or arguments that cannot be pickled
├── StorageError             the folder or the disk
│   ├── FolderError          not a queue's folder, not reachable, not writable
│   ├── FolderInUseError     another process has the queue open; says which
│   ├── FormatError          written by an unknown version
│   ├── CorruptionError      bytes that were once good are damaged
│   └── QueueFailedError     a write or sync failed; the queue must be re-opened
├── ConnectionFailedError    no scheduler at the address; also a ConnectionError
├── QueueError
│   ├── NoSuchQueueError     nobody serves a queue of that name
│   ├── QueueFullError       the bound of the queue is reached
│   ├── QueueLostError       the queue's worker is gone
│   │   ├── QueueSilentError the queue's worker lives, but does not answer
│   │   └── SchedulerLostError  the scheduler that knows where it is does not answer
│   ├── MessagesLostError    a transient queue was lost with its messages
│   └── StaleReceiptError    the lease has ended; its receipt no longer counts
├── ConsumersNotStartedError join() before start()
├── JobError
│   ├── JobCancelledError    the job was cancelled
│   ├── JobFailedError       the task raised; carries its traceback as text
│   ├── CannotLoadError      the function or its arguments could not be unpickled
│   └── ResultExpiredError   the job is done, its result is no longer kept
└── WaitTimeoutError         also a TimeoutError
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class DaskQueueError(Exception):
    """The root of all errors of daskqueue; ``retryable`` says whether the same call may succeed later."""

    retryable = False


class BatchError(DaskQueueError, ValueError):
    """Bytes that are no record batch, or values that cannot be made into one."""


class StorageError(DaskQueueError):
    """The folder or the disk failed."""


class FolderError(StorageError, OSError):
    """The path is not a folder of this queue, or cannot be reached or written."""


class FolderInUseError(StorageError):
    """Another process has the queue's folder open; ``owner`` says which."""

    retryable = True
    owner: Mapping[str, Any] = {}


class FormatError(StorageError):
    """The files were written by a version that this one does not know."""


class CorruptionError(StorageError):
    """Bytes that were once good are damaged."""


class QueueFailedError(StorageError):
    """A write or a sync failed; nothing further is accepted until the queue is re-opened."""

    retryable = True


class ConnectionFailedError(DaskQueueError, ConnectionError):
    """No scheduler could be reached at the address."""

    retryable = True


class QueueError(DaskQueueError):
    """A queue did not do what it was asked."""


class NoSuchQueueError(QueueError):
    """The scheduler knows of no queue of that name; it may come when its hosts have started."""

    retryable = True


class QueueFullError(QueueError):
    """The queue holds as many messages as it may."""

    retryable = True


class QueueLostError(QueueError):
    """The worker that holds the queue is gone."""

    retryable = True


class QueueSilentError(QueueLostError):
    """The worker that holds the queue is known to the scheduler, but does not answer."""


class SchedulerLostError(QueueLostError, OSError):
    """The scheduler, which knows where queues are, is away or does not answer."""


class MessagesLostError(QueueError):
    """A transient queue was lost together with its messages."""


class StaleReceiptError(QueueError):
    """The lease has ended; what its holder says no longer counts."""


class ConsumersNotStartedError(DaskQueueError):
    """Nothing would ever be consumed, because the consumers were never started."""


class JobError(DaskQueueError):
    """A job has no result."""


class JobCancelledError(JobError):
    """The job was cancelled before it ran."""


class JobFailedError(JobError):
    """The task raised an exception that cannot itself be carried here; its traceback can."""


class CannotLoadError(JobError):
    """The function or its arguments could not be unpickled where they should have run."""


class ResultExpiredError(JobError):
    """The job is done, but its result is no longer kept."""


class WaitTimeoutError(DaskQueueError, TimeoutError):
    """The time that the caller gave is over."""

    retryable = True
