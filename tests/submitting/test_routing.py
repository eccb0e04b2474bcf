"""Keys and groups have a queue each: the same for everybody, evenly spread, and steady when the pool grows."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from daskqueue.submitting.routing import home_of

NAMES = [f"name-{number}" for number in range(4000)]


@given(st.text(min_size=1), st.integers(1, 64))
def test_a_queue_more_takes_names_and_moves_no_others(name, n_queues):
    before, after = home_of(name, n_queues), home_of(name, n_queues + 1)
    assert 0 <= before < n_queues
    assert after in {before, n_queues}


def test_names_are_spread_evenly():
    for n_queues in (2, 3, 8):
        counts = Counter(home_of(name, n_queues) for name in NAMES)
        fair = len(NAMES) / n_queues
        assert all(0.8 * fair < counts[queue] < 1.2 * fair for queue in range(n_queues))


def test_all_processes_agree():
    code = "from daskqueue.submitting.routing import home_of; print([home_of(f'name-{i}', 7) for i in range(50)])"
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert eval(other.stdout) == [home_of(name, 7) for name in NAMES[:50]]


def test_old_homes_stay_homes():
    """Messages wait where they were put: another hash would part a group, and forget keys."""
    assert [home_of(name, 5) for name in ("a", "b", "invoice-1", "ü", "\ud800")] == OLD_HOMES


OLD_HOMES = [2, 3, 1, 4, 2]
