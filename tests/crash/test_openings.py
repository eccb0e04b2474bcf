"""A queue that is opened again and again, as by a pod that crashes at its start, stays small."""

from __future__ import annotations

from contextlib import closing

import pytest

from .disk import ModelDisk
from .injected import injected
from .rig import HandLoop, Rig

OPENINGS = 30


@pytest.fixture
def rig():
    with closing(HandLoop()) as loop:
        rig = Rig(loop, ModelDisk(), results="none")
        yield rig.open()
        rig.kill()


def files(rig):
    """Return the names of all files of the queue."""
    return sorted(path.name for path in rig.fs._files)


def open_often(rig, *, kill):
    """Open again and again; each opening finds what the last one has left."""
    known = rig.known()
    for _ in range(OPENINGS):
        rig.reopen(kill=kill)
        assert rig.known() == known
        if kill:
            injected["killed"] += 1


@pytest.mark.parametrize("kill", [True, False])
def test_openings_do_not_pile_up_files_of_a_queue_that_is_settled(rig, kill):
    rig.put("a")
    rig.drain()
    rig.reopen(kill=kill)
    before, size = files(rig), rig.disk_bytes()
    open_often(rig, kill=kill)
    assert len(files(rig)) == len(before)
    assert rig.disk_bytes() <= size + 10  # the lock tells how many openings there were


@pytest.mark.parametrize("kill", [True, False])
def test_openings_keep_all_that_is_waited_for(rig, kill):
    rig.put("a", "b")
    hand = rig.lease(1)
    rig.nack(hand, final=True)
    open_often(rig, kill=kill)
    assert rig.outcome(0) == ("failed", "no 0")
    assert rig.drain() == {1: "b"}
