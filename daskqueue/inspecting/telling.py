"""What was found, as lines for a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from daskqueue.core.runs import Runs, count
from daskqueue.inspecting.findings import SOUND, UNUSABLE, WRONG
from daskqueue.inspecting.remarks import of, words_of
from daskqueue.message import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskqueue.inspecting.dumping import Shown
    from daskqueue.inspecting.findings import Finding, LogReport, QueueReport, Report
    from daskqueue.inspecting.rebuilding import Rebuilt
    from daskqueue.inspecting.repairing import Repaired

_VERDICTS = {
    SOUND: "sound",
    WRONG: "something is wrong, see above; every queue opens",
    UNUSABLE: "something cannot be opened, see above",
}
_MARKS = {"note": "note", "wrong": "WRONG", "unusable": "UNUSABLE"}


def report(found: Report) -> Iterator[str]:
    """Yield the lines of a verification."""
    yield f"{found.path}: " + (
        f"the pool {found.pool!r}, {of(len(found.queues), 'queue')}" if found.pool else "a queue"
    )
    for finding in found.findings:
        yield from _finding(finding)
    for queue in found.queues:
        yield from _queue(queue)
    yield f"{found.path}: {_VERDICTS[found.exit_code]}"


def _queue(queue: QueueReport) -> Iterator[str]:
    yield ""
    yield queue.name
    if queue.queue_id:
        version = ", ".join(f"{name} version {number}" for name, number in queue.formats.items())
        yield f"  queue {queue.queue_id}, opened {of(queue.epoch, 'time')}; {version}"
        yield f"  log: {_log(queue.log)}"
        yield f"  results: {_log(queue.results)}"
        yield f"  checkpoint: {queue.checkpoint}"
        yield f"  messages: {_counts(queue.messages)}; {queue.next_sequence:,} were put"
        yield f"  of those that wait, run or are dead, {queue.checked:,} were read and are whole"
    for finding in queue.findings:
        yield from _finding(finding)


def _log(log: LogReport) -> str:
    return f"{of(log.segments, 'segment')}, {log.size_bytes:,} bytes, {of(log.frames, 'record')}"


def _counts(messages: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {state}" for state, number in messages.items())


def _finding(finding: Finding) -> Iterator[str]:
    yield f"  {_MARKS[finding.level]}: {finding.what}"
    if finding.means:
        yield f"      {finding.means}"
    if finding.todo:
        yield f"      do: {finding.todo}"


def frame(shown: Shown) -> str:
    """Return the line of a frame."""
    said = " ".join(
        f"{name}={json.dumps(value)}" for name, value in shown.fields.items() if value is not None
    )
    return f"{shown.file}:{shown.offset} {shown.size} {shown.name} {said}".rstrip()


def state(told: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a replay."""
    yield told["queue"]
    folded = told["state"]
    put = f"{folded['next_sequence']:,} were put"
    yield f"  {_counts(folded['messages'])}; {put}; opened {of(folded['epoch'], 'time')}"
    if folded["paused"]:
        yield "  paused: nothing is handed out until `daskqueue queue resume`"
    if folded["oldest"] is not None:
        yield f"  the oldest that waits or runs: {folded['oldest']['sequence']}"
    for lease in folded["leases"]:
        runs = tuple(Run(*run) for run in lease["runs"])
        yield f"  lease {lease['lease']} of {lease['consumer']}: {of(count(runs), 'message')}, {words_of(runs)}"
    for reason, number in folded["dead_by_reason"].items():
        yield f"  dead letters: {number:,} {reason}"
    keys = folded["keys"]
    taken = f"{of(sum(keys.values()), 'key')} taken"
    yield f"  {of(folded['groups'], 'group')}; {taken}; {of(folded['producers'], 'producer')}"
    yield f"  checkpoint: {told['checkpoint']}; {of(told['replayed'], 'record')} read after it"
    if told["agree"]:
        yield (
            "  the log alone says the same" if told["checkpoint"] == "used" else "  this is what the log says"
        )
    for each in told["differences"]:
        where = words_of(tuple(Run(*run) for run in each["runs"])) if each["runs"] else each["words"]
        yield f"  DIFFERENT without the checkpoint: {each['what']}: {where}"


def repaired(done: Repaired) -> Iterator[str]:
    """Yield the lines of a repair."""
    yield from done.notes
    for name, queue in done.queues.items():
        yield f"{name}: {of(queue.messages, 'message')} and {of(queue.results, 'record')} of results written"
        yield from _left(queue)
    if done.left_behind:
        yield f"{done.target} is sound; {of(done.left_behind, 'message')} left behind, see above"
    else:
        yield f"{done.target} is sound, and has all messages"


def _left(queue: Rebuilt) -> Iterator[str]:
    if queue.left_behind:
        yield f"  left behind, their bytes are damaged: {words_of(queue.left_behind)}"
        yield "      whoever waits for them hears that they failed; submit them again"
    failures: Runs = tuple(queue.without_failure)
    if failures:
        yield f"  dead letters of which it cannot be read why they died: {words_of(failures)}"
    if queue.unknown:
        yield f"  {of(queue.unknown, 'record')} that only a later version knows, written again as they were"
