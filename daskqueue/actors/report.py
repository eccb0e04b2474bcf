"""What a consumer tells a queue of finished messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from daskqueue.actors.runner import Cut, Raised
from daskqueue.actors.settlement import Settlement, runs_of
from daskqueue.actors.timing import RAISED
from daskqueue.results import describe_failure, encode_results

CANNOT_PICKLE = "cannot_pickle_result"


def settlements_of(cut: Cut, *, late: bool) -> Iterator[Settlement]:
    """Yield what is to be said of finished messages of one slice: results first, then each kind of failure.

    Args:
        cut: the finished messages.
        late: whether they were acked before they ran.
    """
    first = cut.work.first + cut.start
    lease, epoch = cut.work.receipt
    raised, blob = _sort_out(cut.values)
    if len(raised) < len(cut.values):
        good = [(first, first + len(cut.values))]
        if raised:
            good = _shifted(first, (index for index in range(len(cut.values)) if index not in raised))
        yield Settlement(lease, epoch, returned=good, results=blob, late=late)
    for reason in {failure.reason for failure in raised.values()}:
        failed = {index: failure for index, failure in sorted(raised.items()) if failure.reason == reason}
        failures, _ = encode_results([describe_failure(failure.error) for failure in failed.values()])
        runs = _shifted(first, failed)
        yield Settlement(
            lease, epoch, raised=runs, failures=failures, reason=reason, final=reason != RAISED, late=late
        )


def _sort_out(values: Sequence[Any]) -> tuple[dict[int, Raised], bytes]:
    """Return the failures by index, and the blob of all other values; what cannot be pickled is a failure."""
    raised: dict[int, Raised] = {}
    if Raised in set(map(type, values)):
        raised = {index: value for index, value in enumerate(values) if type(value) is Raised}
    while True:
        good = [value for index, value in enumerate(values) if index not in raised] if raised else values
        blob, unpicklable = encode_results(good)
        if not unpicklable:
            return raised, blob
        places = [index for index in range(len(values)) if index not in raised]
        raised.update((places[index], Raised(error, CANNOT_PICKLE)) for index, error in unpicklable.items())


def _shifted(first: int, indices: Iterable[int]) -> list[tuple[int, int]]:
    return runs_of(first + index for index in indices)
