"""A place on the stage, and who has it now."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from .theatre import Player


class Role:
    """One place on the stage; its players come and go.

    Args:
        kind: what is played there.
        start: starts a player, who may be given a trap.

    Attributes:
        kind: as given.
        player: who has the place, or had it last.
    """

    def __init__(self, kind: str, start: Callable[[bool], Player]) -> None:
        self.kind = kind
        self._start = start
        self._killed = False
        self.player = start(False)

    def kill(self) -> str:
        """Kill who has the place; return what that was."""
        killed = self.player.kill()
        self._killed = self._killed or killed
        return f"kill -9 of a {self.kind}" if killed else ""

    def pause(self, seconds: float) -> str:
        """Hold who has the place for a while, as a swapping machine does; return what that was."""
        if self.player.ended() is not None:
            return ""
        self.player.signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.player.signal(signal.SIGCONT)
        return f"SIGSTOP and SIGCONT of a {self.kind}"

    def dismiss(self, seconds: float) -> str:
        """Ask who has the place to end in order; return what that was."""
        if self.player.trapped or self.player.ended() is not None:
            return ""
        self.player.signal(signal.SIGTERM)
        code = self.player.wait(seconds)
        # It ends by the signal itself as long as it has not begun to listen for it.
        assert code in {0, -signal.SIGTERM}, f"a {self.kind} ended with {code}: {self.player.said()}"
        self._killed = True
        return f"SIGTERM of a {self.kind}"

    def fill(self, *, trap: bool) -> str:
        """Give the place to a new process, if the old one is gone; return what had become of that by itself."""
        code = self.player.ended()
        if code is None:
            return ""
        fell = not self._killed
        trapped, self._killed = self.player.trapped, False
        if fell and not (trapped and code == -signal.SIGKILL):
            raise AssertionError(f"a {self.kind} ended by itself with {code}: {self.player.said()}")
        self.player = self._start(trap)
        return f"{self.kind} killed between two phases" if fell else ""
