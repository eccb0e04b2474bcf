"""What can go wrong, whose fault it is, and whether a retry helps.

DaskQueueError
├── BatchError               bytes that are no record batch, or arguments that cannot be pickled
│   ├── PayloadTooLargeError  a message is larger than a message may be
│   └── BatchFormatError     a record batch of a newer version; also a FormatError
├── StorageError             the folder or the disk
│   ├── DiskFullError        no room on the disk; what was accepted stays, and is worked on
│   ├── FolderError          not a queue's folder, not reachable, not writable
│   ├── FolderInUseError     another process has the queue open; says which
│   ├── FormatError          written by an unknown version
│   ├── CorruptionError      bytes that were once good are damaged
│   └── QueueFailedError     a write or sync failed; the queue must be re-opened
├── ConnectionFailedError    no scheduler at the address; also a ConnectionError
├── QueueError
│   ├── NoSuchQueueError     nobody serves a queue of that name
│   ├── QueueFullError       the bound of the queue is reached
│   ├── DuplicateKeyError    the key is taken by another message; says by which job
│   ├── QueueLostError       the queue's worker is gone
│   │   ├── QueueSilentError the queue's worker lives, but does not answer
│   │   └── SchedulerLostError  the scheduler that knows where it is does not answer
│   ├── MessagesLostError    a transient queue was lost with its messages
│   └── StaleReceiptError    the lease has ended; its receipt no longer counts
├── ConsumersNotStartedError join() before start()
├── JobError
│   ├── JobCancelledError    the job was cancelled, or had to make room
│   │   └── JobExpiredError  it was not begun before its time was over
│   ├── JobFailedError       the task raised; carries its traceback as text
│   ├── CannotLoadError      the function or its arguments could not be unpickled
│   ├── TaskTimeoutError     one attempt took longer than the task's timeout; also a TimeoutError
│   ├── NotDeadError         retry() of a job that is no dead letter
│   └── ResultExpiredError   the job is done, its result is no longer kept
├── NotInTaskError           current() outside of a task; also a RuntimeError
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


class PayloadTooLargeError(BatchError):
    """A message takes more bytes than a message may; the data belongs elsewhere, its name into the message."""


class StorageError(DaskQueueError):
    """The folder or the disk failed."""


class DiskFullError(StorageError):
    """There is no room on the disk: nothing was written, and the same call succeeds when there is room again."""

    retryable = True


class FolderError(StorageError, OSError):
    """The path is not a folder of this queue, or cannot be reached or written."""


class FolderInUseError(StorageError):
    """Another process has the queue's folder open; ``owner`` says which."""

    retryable = True
    owner: Mapping[str, Any] = {}


class FormatError(StorageError):
    """The files were written by a version that this one does not know."""


class BatchFormatError(BatchError, FormatError):
    """A record batch was made by a version that this one does not know."""


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


class DuplicateKeyError(QueueError):
    """The key of a message is taken by another one, whose handle is ``job``."""

    def __init__(self, message: str, job: Any = None) -> None:
        super().__init__(message)
        self.job = job

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.job)


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
    """The job was cancelled before it ran, or while it did."""


class JobExpiredError(JobCancelledError):
    """The job was dropped: it was not begun before its time was over."""


class NotDeadError(JobError):
    """The job is no dead letter, so it cannot be run again."""


class JobFailedError(JobError):
    """The task raised an exception that cannot itself be carried here; its traceback can."""


class CannotLoadError(JobError):
    """The function or its arguments could not be unpickled where they should have run."""


class TaskTimeoutError(JobError, TimeoutError):
    """An attempt took longer than the task's timeout; it counts as any other failure, and is retried like one."""


class ResultExpiredError(JobError):
    """The job is done, but its result is no longer kept."""


class NotInTaskError(DaskQueueError, RuntimeError):
    """What only a task can ask was asked outside of one."""


class WaitTimeoutError(DaskQueueError, TimeoutError):
    """The time that the caller gave is over."""

    retryable = True
