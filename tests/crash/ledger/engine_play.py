"""Many lives of one engine, each killed at a random moment, or a chosen one; the next one opens what it left."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from . import lines
from .rules import account_of, broken
from .theatre import Player, Theatre

MODULE = "crash.ledger.engine_life"
# A part of the lives is killed while they open the folder, or soon after; the others so long after they opened it.
YOUNG = 0.25
YOUNG_SECONDS = 0.04
LONGEST_SECONDS = 0.08


# A life that is to end with a certain word has said it by then, on the slowest machine.
WORD_SECONDS = 60.0
FORGETFUL = "crash.ledger.forgetful"


def kill_again_and_again(theatre: Theatre, folder: Path, seed: int, lives: int) -> int:
    """Begin and kill *lives* lives, let a last one come to an end, and compare their ledgers.

    Args:
        theatre: forks them.
        folder: for the queue, ledgers and logs.
        seed: of the moments, and of what the lives do.
        lives: how many.

    Returns:
        How many were killed.

    Raises:
        AssertionError: something was promised and not kept.
    """
    chance = random.Random(seed)
    ledgers, log = folder / "ledgers", folder / "log"
    ledgers.mkdir()
    place = str(folder / "the-queue"), str(ledgers)
    for number in range(lives):
        player = theatre.start(f"{MODULE}:live", *place, f"life-{number}", f"{seed}-{number}", log=log)
        young = chance.random() < YOUNG
        if not young:
            _wait_until_open(player, ledgers / f"life-{number}-{player.pid}{lines.SUFFIX}")
        time.sleep(chance.uniform(0, YOUNG_SECONDS if young else LONGEST_SECONDS))
        assert player.kill(), f"life {number} ended by itself: {player.said()}"
    last = theatre.start(f"{MODULE}:end", *place, "the-end", str(seed), log=log)
    assert last.wait(30) == 0, last.said()
    found = broken(account_of(lines.read(ledgers)))
    assert not found, "\n".join(found[:20])
    return lives


def kill_when_it_has_told(theatre: Theatre, folder: Path, lives: int, kind: str, forgets: str) -> list[str]:
    """Have each life killed as soon as it has told somebody what rests on a fact; compare their ledgers.

    So the fact is in the log, behind the last checkpoint, and the next opening must know it from there.

    Args:
        theatre: forks them.
        folder: for the queue, ledgers and logs.
        lives: how many.
        kind: of the fact.
        forgets: the kind of the facts that each opening forgets; empty for an honest engine.

    Returns:
        What was promised and not kept, a sentence each.

    Raises:
        AssertionError: a life ended in another way.
    """
    ledgers, log = folder / "ledgers", folder / "log"
    ledgers.mkdir()
    place = forgets, str(folder / "the-queue"), str(ledgers)
    for number in range(lives):
        player = theatre.start(f"{FORGETFUL}:live", kind, *place, f"life-{number}", str(number), log=log)
        assert player.wait(WORD_SECONDS) == -signal.SIGKILL, f"life {number}: {player.said()}"
    last = theatre.start(f"{FORGETFUL}:end", *place, "the-end", "the end", log=log)
    assert last.wait(WORD_SECONDS) == 0, last.said()
    return broken(account_of(lines.read(ledgers)))


def _wait_until_open(player: Player, ledger: Path) -> None:
    """Return when a life has written its first line: it has opened the folder, or has ended."""
    while not (ledger.exists() and ledger.stat().st_size) and player.ended() is None:
        time.sleep(0.001)
