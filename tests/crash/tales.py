"""Short lives on a model disk, told once and then ended at any of their calls: by a kill or by a power cut.

A tale notes what it was promised, and looks whether what a crash has left still keeps it.
"""

from __future__ import annotations

from typing import NamedTuple

from .disk import ModelDisk

# How a power cut treats what was not synced: `power_cut(rng, keep=...)`.
NOTHING, ALL, SOME = 0, 1, None


class Ending(NamedTuple):
    """How a tale is cut short.

    Attributes:
        calls: after how many calls.
        cut: whether the power goes; otherwise the process is killed.
        keep: NOTHING, ALL or SOME of what was not synced.
        part: bytes of the next call, a write, that are done.
    """

    calls: int
    cut: bool
    keep: int | None = NOTHING
    part: int = 0

    @property
    def kind(self):
        """What kind of fault it is, in words."""
        if self.cut:
            return "power cut"
        return "killed in the middle of a write" if self.part else "killed"


class Tale:
    """One life: :meth:`tell` lives it, :meth:`look` judges what is left of it.

    Attributes:
        disk: where it is lived.
        draws: how many of the many things that a power cut may leave are looked at, after each call.
    """

    draws = 2

    def __init__(self):
        self.disk = ModelDisk()

    def tell(self):
        """Live, and note what is promised when: ``self.now`` is the number of calls so far."""
        raise NotImplementedError

    def look(self, left, ending):
        """Raise AssertionError, or let through what the product raises, if *left* breaks a promise."""
        raise NotImplementedError

    def end(self):
        """Give back what the tale holds."""

    @property
    def now(self):
        return len(self.disk.calls)

    def check(self, ending, rng, *, disk=None, moment=None, lose=None):
        """Look at what one ending leaves; a failure says which it was.

        Args:
            ending: how it ends; its promises are looked for.
            rng: chooses what is left.
            disk: another one, on which the tale has gone on after its ending ...
            moment: ... up to this number of calls.
            lose: pattern of names of files that are lost as well.
        """
        disk, moment = disk or self.disk, ending.calls if moment is None else moment
        try:
            left = self.left(ending, rng, disk, moment)
            if lose:
                for path in [path for path in left._files if path.match(lose)]:
                    left.remove(path)
            self.look(left, ending)
        except BaseException as error:
            before = ", ".join(
                f"{call.verb} in {call.site}" for call in disk.calls[max(moment - 3, 0) : moment]
            )
            error.add_note(f"{type(self).__name__} ended: {ending}, looked at after {moment} calls: {before}")
            raise

    def left(self, ending, rng, disk=None, moment=None):
        """Return what one ending leaves on the disk."""
        disk, moment = disk or self.disk, ending.calls if moment is None else moment
        if ending.cut:
            return disk.power_cut(rng, moment, ending.keep)
        return disk.killed(moment, ending.part)


def told(make):
    """Return a new tale of a kind, told to its end."""
    tale = make()
    try:
        tale.tell()
    finally:
        tale.end()
    return tale


def endings(tale, rng, at=None):
    """Yield the endings of a tale: all kinds, after each number of calls in *at*, or after every call."""
    for calls in range(tale.now + 1) if at is None else at:
        yield Ending(calls, cut=False)
        if calls < tale.now and tale.disk.calls[calls].verb == "write":
            size = len(tale.disk.calls[calls].data)
            yield Ending(calls, cut=False, part=rng.randrange(1, max(size, 2)))
        for keep in (NOTHING, *[SOME] * tale.draws):
            yield Ending(calls, cut=True, keep=keep)
