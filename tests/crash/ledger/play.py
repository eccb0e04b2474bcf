"""A play with real processes, and the director who kills them."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from hosts.processes import free_port

from . import lines
from .role import Role
from .rules import account_of, broken
from .theatre import Player, Theatre

MODULES = ("crash.ledger.parts",)
NAME = "play"
# Somebody must be told of the end of a message within this time after any loss.
LIVELY_SECONDS = 45.0
CURTAIN_SECONDS = 60.0
# Who is asked to end has done so within this time.
END_SECONDS = 20.0
EVERYTHING = ("everything",)
# So many of those that take the place of another one walk into a trap.
TRAPPED = 0.4


class Play:
    """One evening; everything of it lies in one folder. What is played, and by whom, the subclasses say.

    Args:
        theatre: forks the players.
        folder: for queues, ledgers and logs.
        seed: of the director's choices, and of the clients'.

    Attributes:
        killed: how many faults were injected, by kind.
        ledgers: the folder with the ledgers.
    """

    # Who is struck together, and how often in comparison.
    SCENES: ClassVar[Mapping[tuple[str, ...], int]]
    # Who may be asked to end in the middle of the play.
    ORDERLY: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, theatre: Theatre, folder: Path, seed: int) -> None:
        self.killed: Counter[str] = Counter()
        self._theatre = theatre
        self._folder = folder
        self._seed = seed
        self._random = random.Random(seed)
        self._lives = 0
        self._port = free_port()
        self.ledgers = folder / "ledgers"
        self.ledgers.mkdir()
        self._stage: list[Role] = []
        self._fill_the_stage()

    def act(self) -> None:
        """Strike some, after a moment of any length, and fill their places; mostly, wait until things go on."""
        chance = self._random
        (scene,) = chance.choices(list(self.SCENES), self.SCENES.values())
        if scene == EVERYTHING:
            # The scheduler last: workers of Dask end without it.
            for role in reversed(self._stage):
                self._note(role.kill())
        for role in self._victims(scene):
            time.sleep(chance.choice((0, chance.uniform(0, 0.4))))
            self._note(self._strike(role))
        if chance.random() < 0.3:
            time.sleep(chance.uniform(0, 0.5))
        self._fill()
        if chance.random() < 0.7:
            self._goes_on()

    def end(self) -> None:
        """Let everything come to its end, and everybody go home.

        Raises:
            AssertionError: somebody did not, or something was promised and not kept.
        """
        for role in self._stage:
            if role.player.trapped:
                role.kill()
        self._fill(trap=False)
        self._dismiss("client", CURTAIN_SECONDS)
        last = self._curtain()
        assert last.wait(2 * CURTAIN_SECONDS) == 0, last.said()
        for kind in sorted(self.ORDERLY):
            self._dismiss(kind, END_SECONDS)
        found = broken(account_of(lines.read(self.ledgers)))
        assert not found, "\n".join(found[:20])

    # What the subclasses say

    def _fill_the_stage(self) -> None:
        """Give everybody a place, in the order that they need each other."""
        raise NotImplementedError

    def _curtain(self) -> Player:
        """Start who writes down how everything ended."""
        raise NotImplementedError

    # Inside

    def _of(self, kind: str) -> list[Role]:
        return [role for role in self._stage if role.kind == kind]

    def _victims(self, scene: tuple[str, ...]) -> list[Role]:
        counted = Counter(kind for kind in scene if scene != EVERYTHING)
        return [role for kind in counted for role in self._random.sample(self._of(kind), counted[kind])]

    def _strike(self, role: Role) -> str:
        """Kill who has a place; now and then only hold him, or ask him to end."""
        way = self._random.random()
        if way < 0.1:
            return role.pause(self._random.uniform(0, 1))
        if way < 0.2 and role.kind in self.ORDERLY:
            return role.dismiss(END_SECONDS)
        return role.kill()

    def _note(self, what: str) -> None:
        if what:
            self.killed[what] += 1

    def _fill(self, *, trap: bool = True) -> None:
        for role in self._stage:
            self._note(role.fill(trap=trap and self._random.random() < TRAPPED))

    def _goes_on(self) -> None:
        """Return when a client was told of another message's end, whoever falls into a trap meanwhile."""
        size, give_up_at = self._size(), time.monotonic() + LIVELY_SECONDS
        while self._size() <= size:
            assert time.monotonic() < give_up_at, f"nothing came to an end for {LIVELY_SECONDS:g} s"
            time.sleep(0.02)
            self._fill()

    def _size(self) -> int:
        return sum(path.read_bytes().count(b'"settled"') for path in self.ledgers.glob("client*"))

    def _dismiss(self, kind: str, seconds: float) -> None:
        roles = self._of(kind)
        for role in roles:
            role.player.signal(signal.SIGTERM)
        for role in roles:
            assert role.player.wait(seconds) == 0, role.player.said()

    def _start(self, part: str, *args: object, who: str = "") -> Player:
        return self._theatre.start(f"{MODULES[0]}:{part}", *args, log=self._folder / f"{part}{who}.log")

    def _client(self, part: str, number: int, *place: object) -> Player:
        """Start another life of a client; each has a name of its own."""
        self._lives += 1
        who, seed = f"client{number}-{self._lives}", f"{self._seed}-{self._lives}"
        return self._start(part, NAME, self._port, str(self.ledgers), who, seed, *place, who=f"-{number}")
