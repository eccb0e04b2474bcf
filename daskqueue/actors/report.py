"""What a consumer tells a queue of finished messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from daskqueue.actors.settlement import Settlement, runs_of
from daskqueue.actors.timing import RAISED, Timing, timings
from daskqueue.actors.work import Crashed, Cut, Raised, Snoozed, Work, kinds_of
from daskqueue.results import Failure, describe_failure, encode_results

CANNOT_PICKLE = "cannot_pickle_result"
NOT_RETRYABLE = "not_retryable"

_Marks = dict[int, Raised | Snoozed | Crashed]
_MARKS = frozenset({Raised, Snoozed, Crashed})


def reports(work: Work, *, late: bool) -> Iterator[tuple[list[Settlement], list[Timing]]]:
    """Take what finished of a slice since the last time; yield what is to be said of it, and how long it took."""
    for cut in work.cuts():
        settlements = list(settlements_of(cut, late=late))
        yield settlements, list(timings(cut, settlements))


def settlements_of(cut: Cut, *, late: bool) -> Iterator[Settlement]:
    """Yield what is to be said of finished messages of one slice: results first, then each other kind of end.

    Args:
        cut: the finished messages.
        late: whether they were acked before they ran.
    """
    work = cut.work
    first = work.first + cut.start
    lease, epoch = work.receipt
    marks, blob = _sort_out(cut.values)
    if len(marks) < len(cut.values):
        good = [(first, first + len(cut.values))]
        if marks:
            good = _shifted(first, (index for index in range(len(cut.values)) if index not in marks))
        yield Settlement(lease, epoch, returned=good, results=blob, late=late)
    if not marks:
        return
    crashed = _shifted(first, sorted(index for index, mark in marks.items() if isinstance(mark, Crashed)))
    if crashed:
        yield Settlement(lease, epoch, crashed=crashed, late=late)
    for seconds, indices in _snoozed(marks, late=late).items():
        yield Settlement(lease, epoch, released=_shifted(first, indices), delay=seconds)
    raised = _raised(marks, late=late)
    stopped = sorted(index for index in raised if cut.start + index in work.cancelled)
    if stopped:
        yield Settlement(lease, epoch, stopped=_shifted(first, stopped), late=late)
    failed = {
        index: _judged(work, cut.start + index, raised[index]) for index in sorted(raised.keys() - stopped)
    }
    yield from _failures(cut, failed, late=late)


def _failures(cut: Cut, failed: dict[int, Raised], *, late: bool) -> Iterator[Settlement]:
    first = cut.work.first + cut.start
    lease, epoch = cut.work.receipt
    for reason in {failure.reason for failure in failed.values()}:
        chosen = {index: failure.error for index, failure in failed.items() if failure.reason == reason}
        failures, _ = encode_results([_described(error) for error in chosen.values()])
        runs = _shifted(first, chosen)
        yield Settlement(
            lease, epoch, raised=runs, failures=failures, reason=reason, final=reason != RAISED, late=late
        )


def _snoozed(marks: _Marks, *, late: bool) -> dict[float, list[int]]:
    """Return which messages are to be run again, by the delay; those acked already can not be."""
    snoozed: dict[float, list[int]] = {}
    for index in sorted(marks):
        mark = marks[index]
        if isinstance(mark, Snoozed) and not late:
            snoozed.setdefault(mark.seconds, []).append(index)
    return snoozed


def _raised(marks: _Marks, *, late: bool) -> dict[int, Raised]:
    raised = {index: mark for index, mark in marks.items() if isinstance(mark, Raised)}
    if late:
        raised.update((index, mark.raised) for index, mark in marks.items() if isinstance(mark, Snoozed))
    return raised


def _judged(work: Work, index: int, raised: Raised) -> Raised:
    """Return a failure with its reason changed if its message's terms say that it is not to be run again."""
    note = work.note_at(index)
    if raised.reason != RAISED or note is None or note.terms is None:
        return raised
    terms = note.terms
    if not (terms.retry_on or terms.no_retry_on):
        return raised
    kinds = set(kinds_of(raised))
    wanted = not terms.retry_on or not kinds.isdisjoint(terms.retry_on)
    if wanted and kinds.isdisjoint(terms.no_retry_on):
        return raised
    return raised._replace(reason=NOT_RETRYABLE)


def _described(error: BaseException | Failure) -> Failure:
    return error if isinstance(error, Failure) else describe_failure(error)


def _sort_out(values: Sequence[Any]) -> tuple[_Marks, bytes]:
    """Return what did not return by index, and the blob of all values; what cannot be pickled is a failure."""
    marks: _Marks = {}
    if not _MARKS.isdisjoint(set(map(type, values))):
        marks = {index: value for index, value in enumerate(values) if type(value) in _MARKS}
    while True:
        good = [value for index, value in enumerate(values) if index not in marks] if marks else values
        blob, unpicklable = encode_results(good)
        if not unpicklable:
            return marks, blob
        places = [index for index in range(len(values)) if index not in marks]
        marks.update((places[index], Raised(error, CANNOT_PICKLE)) for index, error in unpicklable.items())


def _shifted(first: int, indices: Iterable[int]) -> list[tuple[int, int]]:
    return runs_of(first + index for index in indices)
