"""Every test of the core ends with a check of the state it left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A queue of which at most three deliveries may be lost, with a clock that the test moves."""
    stage = Stage()
    yield stage
    stage.check()
