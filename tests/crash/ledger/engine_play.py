"""Many lives of one engine, each killed at a random moment; the next one opens what it left."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

from . import lines
from .rules import account_of, broken
from .theatre import Player, Theatre

MODULE = "crash.ledger.engine_life"
# A part of the lives is killed while they open the folder, or soon after; the others so long after they opened it.
YOUNG = 0.25
YOUNG_SECONDS = 0.04
LONGEST_SECONDS = 0.08


def kill_again_and_again(
    theatre: Theatre, folder: Path, seed: int, lives: int, live: Sequence[str] = (f"{MODULE}:live",)
) -> int:
    """Begin and kill *lives* lives, let a last one come to an end, and compare their ledgers.

    Args:
        theatre: forks them.
        folder: for the queue, ledgers and logs.
        seed: of the moments, and of what the lives do.
        lives: how many.
        live: the function that is a life, and its first arguments.

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
        player = theatre.start(*live, *place, f"life-{number}", f"{seed}-{number}", log=log)
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


def _wait_until_open(player: Player, ledger: Path) -> None:
    """Return when a life has written its first line: it has opened the folder, or has ended."""
    while not (ledger.exists() and ledger.stat().st_size) and player.ended() is None:
        time.sleep(0.001)
