"""The scripts of the story as Jobs, and the load that goes on while things break."""

from __future__ import annotations

import json
import time
from itertools import pairwise

from .jobs import story

NAME = "invoices"


class Load:
    """Two Jobs that use the queue all the time: one with batches, one task by task."""

    def __init__(self, jobs, stack):
        self.jobs = jobs
        for name in ("load", "probe"):
            start(jobs, name)
        self.batches = stack.enter_context(jobs.follow("load"))
        self.probe = stack.enter_context(jobs.follow("probe"))
        self.probe.until("back", timeout=90)
        self.batches.until("checked", timeout=90)

    def goes_on(self, timeout=90):
        """Wait until batches and tasks that are submitted from now on have come back."""
        now = time.monotonic()
        _, submitted = self.batches.until("submitted", timeout, since=now)
        self.batches.until("checked", timeout, lambda facts: facts["tasks"] >= submitted["tasks"])
        _, first = self.probe.until("back", timeout, since=now)
        self.probe.until("back", timeout, lambda facts: facts["number"] > first["number"] + 2)

    def silence(self, since):
        """Return when the longest time without an answer to a single task began and ended, from a moment on."""
        arrived = [at for at, line in self.probe.heard if '"back"' in line]
        pairs = [pair for pair in pairwise(arrived) if pair[1] >= since]
        return max(pairs, key=lambda pair: pair[1] - pair[0])

    def end(self):
        """Let both come to their end; return how many tasks they have checked."""
        for name in ("load", "probe"):
            self.jobs.tell(name)
        ends = [told.until("end", timeout=180)[1] for told in (self.batches, self.probe)]
        for name in ("load", "probe"):
            self.jobs.finished(name)
        assert [end["wrong"] for end in ends] == [0, 0]
        return sum(end["tasks"] for end in ends)


def start(jobs, name, *args, handles=""):
    """Start a script of the story as a Job of the same name."""
    files = {"telling.py": story("telling.py")} | ({"handles.txt": handles} if handles else {})
    jobs.start(name, story(f"{name}.py"), *args, connection=NAME, files=files)


def facts(log, event):
    """Return what a script told about an event."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return next(line for line in lines if line["event"] == event)
