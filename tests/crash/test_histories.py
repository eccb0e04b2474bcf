"""Every answer that a queue has given holds, wherever its process ends and whatever a power cut takes."""

from __future__ import annotations

import pytest

from .history import History
from .injected import seeds


@pytest.mark.parametrize("seed", seeds(12))
def test_every_answer_holds_after_a_crash_at_any_call(seed):
    history = History(seed)
    try:
        history.live()
    except BaseException as error:
        error.add_note(f"to run it again: DASKQUEUE_CRASH_SEED={seed} pytest tests/crash/test_histories.py")
        raise
    assert history.faults > 200
