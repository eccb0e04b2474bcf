"""The crash suite is only worth what it catches: a sync, a rename or a link less, and one of its tales must fail."""

from __future__ import annotations

from random import Random

import pytest

from .contracts import CONTRACTS
from .injected import injected, seeds
from .lives import small
from .local_disk import FoldersAreThere, TheSystemIsTold
from .planted import catch
from .repaired import RepairsAreOnTheDisk
from .sites import files_beyond, sites, watched
from .tales import endings, told
from .targeted import TARGETED

TALES = (*CONTRACTS, *TARGETED, FoldersAreThere, TheSystemIsTold, RepairsAreOnTheDisk)
SITES = sites()


@pytest.fixture(autouse=True)
def _small_files():
    with small():
        yield


@pytest.mark.parametrize("seed", seeds(1))
@pytest.mark.parametrize("make", TALES, ids=lambda make: make.__name__)
def test_wherever_a_tale_ends_its_promises_are_kept(make, seed):
    rng = Random(seed)
    tale = told(make)
    for ending in endings(tale, rng):
        tale.check(ending, rng)
        injected[ending.kind] += 1


@pytest.mark.parametrize("site", SITES, ids=str)
def test_without_any_one_sync_or_name_a_tale_fails(site):
    found = catch(site, TALES)
    assert found, f"{site} can be removed, and no tale notices: tell one that needs it, or remove it"
    injected["sync or name left out"] += 1


def test_what_the_tales_ask_of_a_disk_comes_from_the_sites_that_are_known():
    """And all of those are reached: a call that hides from the search (`getattr`, say) would show here."""
    known = {f"{site.module.removeprefix('daskqueue.').replace('.', '/')}.py:{site.name}" for site in SITES}
    asked = set()
    with watched() as meeting:
        for make in TALES:
            calls = told(make).disk.calls
            asked |= {call.site for call in calls if call.verb in ("sync", "sync_folder", "rename", "link")}
    assert {site for site in asked if site.startswith(("storage/", "engine/", "actors/"))} <= known
    assert set(SITES) == set(meeting.met)


def test_nothing_else_of_the_product_syncs_or_renames():
    assert files_beyond() == set()
