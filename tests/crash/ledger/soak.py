"""The long run: ``make soak``.

For so many minutes engines and whole sites are killed again and again, each with another seed; then very many
messages go through one queue. It prints what it has done and seen, and fails as soon as something is not as it
must be.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import engine_play, play, ten_million
from .hosted_play import HostedPlay
from .pool_play import PoolPlay
from .theatre import Theatre

MINUTES = float(os.environ.get("DASKQUEUE_SOAK_MINUTES", "10"))
LIVES = 200
ACTS = 60


def main() -> None:
    """Do what the command line says."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--minutes", type=float, default=MINUTES, help="how long processes are killed")
    made.add_argument("--messages", type=int, default=10_000_000, help="how many go through one queue")
    made.add_argument("--seed", type=int, default=0, help="of the first evening; the next ones follow")
    made.add_argument("--folder", type=Path, default=tempfile.gettempdir(), help="where the files are")
    said = made.parse_args()
    kill_for(said.minutes * 60, said.seed, said.folder)
    if said.messages:
        let_through(said.messages, said.folder)


def kill_for(seconds: float, seed: int, folder: Path) -> None:
    """Kill engines and sites in turn until the time is over."""
    began, killed = time.monotonic(), Counter[str]()
    while time.monotonic() - began < seconds:
        for title, evening in (
            ("engine", _engine),
            ("hosts", partial(_site, HostedPlay)),
            ("pool", partial(_site, PoolPlay)),
        ):
            killed += _in_a_folder(f"{title}, seed {seed}", folder, partial(evening, seed))
        seed += 1
    for kind, number in killed.most_common():
        _say(f"{number:9,}  {kind}")
    _say(f"{killed.total():9,}  in all, in {(time.monotonic() - began) / 60:.1f} minutes; nothing was lost\n")


def let_through(messages: int, folder: Path) -> None:
    """Let so many messages through one queue, and print the table of what that cost."""

    def run(at: Path) -> Counter[str]:
        with Theatre(*play.MODULES, *ten_million.MODULES) as theatre:
            stream = ten_million.Stream(theatre, at, messages)
            stream.run()
        _say("".join(f"{name:>15}" for name in ten_million.Look._fields))
        for look in stream.looks[:: max(len(stream.looks) // 20, 1)]:
            _say("".join(f"{value:15,.0f}" for value in look))
        rows = ten_million.bounds_of(stream)
        _say(
            f"\n{messages:,} messages in {stream.looks[-1].seconds:.0f} s, {len(stream.reopened)} x kill -9\n"
        )
        _say("back after " + ", ".join(f"{seconds:.2f}" for seconds in stream.reopened) + " s\n")
        for what, figure, most in rows:
            _say(f"{what:55} {figure:10,.2f}   at most {most:10,.2f}")
        assert all(figure <= most for _, figure, most in rows), "a bound does not hold"
        return Counter()

    _in_a_folder(f"{messages:,} messages", folder, run)


def _engine(seed: int, at: Path) -> Counter[str]:
    with Theatre(engine_play.MODULE) as theatre:
        lives = engine_play.kill_again_and_again(theatre, at, seed, LIVES)
    return Counter({"kill -9 of an engine over real files": lives})


def _site(kind: type[play.Play], seed: int, at: Path) -> Counter[str]:
    with Theatre(*play.MODULES) as theatre:
        evening = kind(theatre, at, seed)
        for _ in range(ACTS):
            evening.act()
        evening.end()
    assert theatre.left_behind() == []
    return evening.killed


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _in_a_folder(title: str, folder: Path, run: Callable[[Path], Counter[str]]) -> Counter[str]:
    """Run in a folder of its own; it stays if that fails."""
    at = Path(tempfile.mkdtemp(prefix="daskqueue-soak-", dir=folder))
    began = time.monotonic()
    try:
        done = run(at)
    except BaseException:
        _say(f"{title}: FAILED; its files, ledgers and logs are kept in {at}")
        raise
    shutil.rmtree(at)
    _say(f"{title}: {done.total():,} killed, {time.monotonic() - began:.0f} s")
    return done


if __name__ == "__main__":
    main()
