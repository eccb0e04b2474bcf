"""Notes of progress on their way to a queue: the last of each message, few calls, none lost."""

from __future__ import annotations

import asyncio

import pytest

from daskqueue.actors import remarks
from daskqueue.actors.remarks import Remarks
from daskqueue.errors import QueueLostError


class Queue:
    """What the notes are sent to."""

    def __init__(self):
        self.calls = []
        self.heard = asyncio.Event()
        self.error = None

    async def send(self, said):
        self.calls.append(said)
        self.heard.set()
        if self.error is not None:
            raise self.error

    def last(self):
        """Return the last note of each message."""
        return {sequence: note for call in self.calls for _, _, sequence, note in call}


def story(play):
    """Run a coroutine function with a queue and the notes for it."""

    async def run():
        queue = Queue()
        notes = Remarks(queue.send, asyncio.get_running_loop())
        try:
            return await play(queue, notes)
        finally:
            notes.close()

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Let what is said later wait for ever, unless it is flushed."""
    monkeypatch.setattr(remarks, "PAUSE_SECONDS", 3600)


def test_the_first_note_goes_at_once():
    async def play(queue, notes):
        notes.put((7, 1), 5, b"a")
        await asyncio.wait_for(queue.heard.wait(), 10)
        return queue.calls

    assert story(play) == [[(7, 1, 5, b"a")]]


def test_what_is_said_meanwhile_shares_a_call_and_only_the_last_of_each_message_is_sent():
    async def play(queue, notes):
        notes.put((7, 1), 5, b"first")
        await asyncio.wait_for(queue.heard.wait(), 10)
        for number in range(100):
            notes.put((7, 1), 5, b"%d" % number)
            notes.put((8, 1), 6, b"%d" % -number)
        await notes.flush()
        return queue.calls

    assert story(play) == [[(7, 1, 5, b"first")], [(7, 1, 5, b"99"), (8, 1, 6, b"-99")]]


def test_a_flush_brings_what_other_threads_have_said_before_it():
    async def play(queue, notes):
        await asyncio.gather(*(asyncio.to_thread(notes.put, (7, 1), number, b"x") for number in range(50)))
        await notes.flush()
        return queue.last()

    assert story(play) == dict.fromkeys(range(50), b"x")


def test_nothing_is_called_when_nothing_was_said():
    async def play(queue, notes):
        await notes.flush()
        return queue.calls

    assert story(play) == []


def test_notes_for_a_queue_that_is_away_are_kept_and_later_ones_win():
    async def play(queue, notes):
        queue.error = QueueLostError("away")
        notes.put((7, 1), 5, b"old")
        notes.put((7, 1), 6, b"kept")
        with pytest.raises(QueueLostError):
            await notes.flush()
        notes.put((7, 1), 5, b"new")
        queue.calls.clear()
        queue.error = None
        await notes.flush()
        return queue.last()

    assert story(play) == {5: b"new", 6: b"kept"}


def test_notes_that_a_queue_refuses_hold_nothing_up(caplog):
    caplog.set_level("WARNING", logger="daskqueue")  # a cluster of another test may have silenced it

    async def play(queue, notes):
        queue.error = RuntimeError("no room")
        notes.put((7, 1), 5, b"a")
        await notes.flush()
        queue.error = None
        await notes.flush()
        return len(queue.calls)

    assert story(play) == 1
    assert "refuses notes" in caplog.text
