"""Processes that kill themselves between two phases of what they do: where a random moment seldom falls."""

from __future__ import annotations

import importlib
import os
import signal
from typing import Any, NamedTuple

BEFORE, AFTER = "before", "after"

OF_QUEUES = (
    "daskqueue.engine.commit:GroupCommit._begin",
    "daskqueue.engine.commit:GroupCommit._end",
    "daskqueue.engine.ledger:Ledger.record",
    "daskqueue.engine.leases:Leases.ack",
    "daskqueue.engine.leases:Leases.nack",
    "daskqueue.engine.files:Files.sync",
    "daskqueue.engine.files:Files.roll",
    "daskqueue.engine.files:Files.write_checkpoint",
    "daskqueue.engine.files:Files.drop",
    "daskqueue.engine.files:Files.remove_large",
    "daskqueue.storage.folder:FolderLock.record",
    "daskqueue.storage.log:Log.start",
)
OF_CONSUMERS = (
    "daskqueue.actors.in_hand:InHand.take",
    "daskqueue.actors.in_hand:InHand.collect",
    "crash.ledger.lines:Ledger.say",
)


class Trap(NamedTuple):
    """Ends this process before or after the *call*-th call of a function, as ``kill -9`` does."""

    place: str
    call: int
    when: str

    def lay(self) -> None:
        """Put it in the place of the function."""
        module, _, path = self.place.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, function: Any) -> Any:
        left = self.call

        def trapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and self.when == BEFORE:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return trapped
