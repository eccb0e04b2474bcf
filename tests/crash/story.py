"""A random history of a queue, told once on a model disk, with everything that was answered on the way."""

from __future__ import annotations

from contextlib import closing, contextmanager

from daskqueue.errors import QueueFullError, StaleReceiptError

from .commands import ALL, LOG, NOTHING, OF_HANDS, VERBS, Commands
from .disk import ModelDisk
from .promises import Event, Promise, Promises, statuses
from .rig import HandLoop, Rig, small

# So few bytes of results are kept that some go while the story is told.
FEW_BYTES = 1500


def settings_of(rng):
    """Return settings for a queue, and how small its files are."""
    settings = {
        "segment_bytes": rng.choice((500, 1500, 4000)),
        "results": rng.choice(("durable", "durable", "durable", "memory", "none")),
        "fsync": rng.choice(("always", "always", "always", "always", "interval:50", "never")),
        "result_bytes": rng.choice((1 << 30, 1 << 30, FEW_BYTES)),
        "max_losses": rng.choice((2, 9)),
        "max_messages": rng.choice((None, None, None, 25)),
    }
    sizes = {
        "large_bytes": rng.choice((1 << 20, 1 << 20, 150)),
        "checkpoint_bytes": rng.choice((2000, 1 << 20)),
        "results_bytes": rng.choice((400, 1500)),
    }
    return settings, sizes


class Story(Commands):
    """One queue whose commands a seed chooses; it notes what each of them promises.

    Args:
        rig: the open queue.
        rng: chooses.
        promises: what was promised before, if anything was.
    """

    def __init__(self, rig, rng, promises=None):
        self.rig = rig
        self.rng = rng
        self.promises = promises or Promises()
        self.told = []
        self._hands = []
        self._values = 0
        self._new = {}  # what the command has put, by sequence
        self._number = max((put.number for put in self.promises.puts), default=-1) + 1
        self._unsure = []
        self.opened = self.now
        self._note("open", 0, {}, ALL)

    @property
    def now(self):
        return len(self.rig.fs.calls)

    def tell(self, steps):
        """Do some commands, one after the other."""
        for verb in self.rng.choices(list(VERBS), VERBS.values(), k=steps):
            self.step(verb)

    def step(self, verb):
        """Do one command, and note what it promises."""
        if verb in OF_HANDS and not self._hands:
            verb = "lease"
        began, before = self.now, statuses(self.rig.queue)
        self._new = {}
        try:
            cover = getattr(self, f"_{verb}")()
        except (StaleReceiptError, QueueFullError):
            cover = NOTHING
        self._note(verb, began, before, cover)

    # What it promises

    def _note(self, verb, began, before, cover):
        promises, now = self.promises, self.rig.clock.now()
        covers = cover == ALL or (cover == LOG and self.rig.settings.fsync == "always")
        promise = Promise(began, self.now, None, verb)
        promises.commands.append(promise)
        self._add(promise)
        after = statuses(self.rig.queue, now)
        for sequence, status in (before | self._new).items():
            was, became = status.at(now), after.get(sequence)
            if was != became:
                self._happened(sequence, Event(began, self.now, None, verb, was, became))
        if self.rig.queue.paused != promises.pauses[-1][1]:
            promises.pauses.append((promise, self.rig.queue.paused))
        if covers:
            self._cover(began, cover)
        promises.moments.append((self.now, now))
        promises.known[self.now] = self.rig.known()
        self.told.append((began, verb))

    def _happened(self, sequence, event):
        self.promises.messages[sequence].events.append(event)
        self._add(event)

    def _add(self, promise):
        self._unsure.append(promise)

    def _cover(self, began, cover):
        """Note that all is sure that was answered before, or by the command that just ended."""
        with_results = self.rig.settings.results == "durable" and cover != ALL
        waiting = []
        for promise in self._unsure:
            if with_results and promise.why == "ack":
                waiting.append(promise)
            elif promise.sure is None:
                promise.sure = self.now
        self._unsure = waiting


@contextmanager
def told(rng, steps):
    """Tell a random story with random settings; give the story, its rig, and the disk that it left."""
    settings, sizes = settings_of(rng)
    with small(**sizes), closing(HandLoop()) as loop:
        disk = ModelDisk()
        rig = Rig(loop, disk, **settings).open()
        story = Story(rig, rng)
        story.tell(steps)
        yield story, rig, disk
        rig.clear_away()
