"""What tasks returned or raised, to bytes and back."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daskqueue.batch import Batch
from daskqueue.calls import encode_values
from daskqueue.chunk import MAX_PAYLOAD_BYTES, Buffer, pickle_value, registered_by_value
from daskqueue.errors import BatchError, JobFailedError, PayloadTooLargeError
from daskqueue.layout import RESULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

TRACEBACK_CHARACTERS = 64 * 1024


class RemoteTraceback(Exception):  # noqa: N818  it stands where the traceback's frames cannot
    """The text of a traceback from another process; the ``__cause__`` of the exception it belongs to."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}" if self.args else ""


@dataclass(frozen=True, slots=True)
class Failure:
    """What stands in the place of a result where there is none.

    Attributes:
        summary: type and message, such as ``ValueError: bad``.
        traceback: the whole text, at most 64 Ki characters of it.
        pickled: the exception, or None if it cannot be carried.
    """

    summary: str
    traceback: str
    pickled: bytes | None

    def __reduce__(self) -> tuple[Any, ...]:
        return Failure, (self.summary, self.traceback, self.pickled)

    def exception(self) -> Exception:
        """Return the exception, or a JobFailedError with its text; its ``__cause__`` shows the traceback.

        What would end the program or the event loop of whoever asks, such as SystemExit, comes as its text.
        """
        error = _unpickled(self.pickled) if self.pickled is not None else None
        if not isinstance(error, Exception) or isinstance(error, (StopIteration, StopAsyncIteration)):
            error = JobFailedError(self.summary)
        error.__cause__ = RemoteTraceback(self.traceback)
        return error


def describe_failure(error: BaseException) -> Failure:
    """Return what can be kept of an exception; it raises nothing itself, and may stand among results."""
    text = "".join(traceback.format_exception(error))
    summary = "".join(traceback.format_exception_only(error)).strip()
    return Failure(_shortened(summary), _shortened(text), _pickled(error))


def _shortened(text: str) -> str:
    if len(text) <= TRACEBACK_CHARACTERS:
        return text
    half = TRACEBACK_CHARACTERS // 2 - 20
    return f"{text[:half]}\n... shortened ...\n{text[-half:]}"


def _pickled(error: BaseException) -> bytes | None:
    """Return the exception as bytes that are known to come back, or None."""
    try:
        data = pickle_value(error, by_value=bool(registered_by_value()))
    except Exception:  # noqa: BLE001  the exception's own code runs here
        return None
    return data if _unpickled(data) is not None else None


def _unpickled(data: bytes) -> BaseException | None:
    try:
        error = pickle.loads(data)
    except (Exception, SystemExit):  # noqa: BLE001  many exceptions pickle well and cannot be made again
        return None
    return error if isinstance(error, BaseException) else None


def encode_failure(error: BaseException) -> bytes:
    """Return an exception as a blob of one result."""
    return encode_results([describe_failure(error)])[0]


def decode_failure(blob: Buffer | bytearray) -> Failure:
    """Return what :func:`encode_failure` kept.

    Raises:
        BatchError: the blob is damaged, or holds something else.
    """
    failure = decode_result(blob, 0)
    if not isinstance(failure, Failure):
        raise BatchError("the blob holds no failure")
    return failure


def encode_results(
    values: Sequence[Any], max_bytes: int = MAX_PAYLOAD_BYTES
) -> tuple[bytes, dict[int, Exception]]:
    """Return a blob of results, and why some could not be pickled, by their index.

    Args:
        values: what the tasks returned; a :class:`Failure` stands for one that raised. The slot of a value
            that cannot be pickled, or is too large, holds a Failure that says so.
        max_bytes: how many bytes one result may take.
    """
    failed: dict[int, Exception] = {}

    def replaced(position: int, error: Exception) -> bytes:
        failed[position] = error
        kind = type(values[position]).__qualname__
        trouble = "is too large" if isinstance(error, PayloadTooLargeError) else "cannot be pickled"
        refusal = JobFailedError(f"the task's result, a {kind}, {trouble}: {type(error).__name__}: {error}")
        refusal.__cause__ = error
        return pickle.dumps(describe_failure(refusal), 5)

    return encode_values(values, RESULTS, replaced, max_bytes), failed


def decode_results(blob: Buffer | bytearray) -> list[Any]:
    """Return all results; a Failure, or a Broken that counts one, stands where there is none.

    Raises:
        BatchError: the blob is damaged, or holds something else.
    """
    return _results(blob).item_list()


def decode_result(blob: Buffer | bytearray, index: int) -> Any:
    """Return one result; see :func:`decode_results`. At most one chunk is unpickled."""
    return _results(blob).item(index)


def _results(blob: Buffer | bytearray) -> Batch:
    batch = Batch.parse(blob)
    if not batch.holds_results:
        raise BatchError("the record batch holds no results")
    return batch
