"""Looks for a tale, and an ending of it, that fails when one site of the product does nothing."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import NamedTuple

from daskqueue.errors import DaskQueueError

from .sites import watched
from .tales import NOTHING, Ending, endings

# What a tale says when a promise is broken.
BROKEN = (AssertionError, DaskQueueError, OSError, KeyError)
# Within how many calls after the site was passed over its lack shows, mostly.
NEAR = 16


class Catch(NamedTuple):
    """What noticed that a site did nothing: the tale, the ending (None: it failed while it was told), and why."""

    tale: str
    ending: object
    why: BaseException


@cache
def sites_of(make):
    """Return how often each site is reached while a tale is told and looked at from its end."""
    rng = Random(0)
    with watched() as meeting:
        tale = make()
        try:
            tale.tell()
            for ending in endings(tale, rng, [tale.now]):
                tale.check(ending, rng)
        finally:
            tale.end()
    return meeting.met


def catch(site, tales):
    """Return the first that notices that *site* does nothing, None if nobody does."""
    # Who comes by most seldom is made for it, mostly.
    fitting = sorted((make for make in tales if sites_of(make)[site]), key=lambda make: sites_of(make)[site])
    for choose in (_likely, _all):
        for make in fitting:
            found = _try(site, make, choose)
            if found:
                return found
    return None


def _try(site, make, choose):
    rng = Random(0)
    with watched(site) as meeting:
        tale = make()
        meeting.moment = lambda: tale.now
        ending = None
        try:
            tale.tell()
            for ending in choose(tale, meeting.moments, rng):
                tale.check(ending, rng)
        except BROKEN as error:
            return Catch(make.__name__, ending, error)
        finally:
            tale.end()
    return None


def _likely(tale, moments, _rng):
    """Yield the endings that show it first, mostly: soon after the site, nothing is left that was not synced."""
    soon = (moment + step for moment in moments for step in range(NEAR))
    for calls in dict.fromkeys(soon):
        if calls <= tale.now:
            yield Ending(calls, cut=True, keep=NOTHING)


def _all(tale, _moments, rng):
    return endings(tale, rng)
