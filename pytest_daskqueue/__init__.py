"""The fixture of daskqueue for pytest; it imports nothing of daskqueue before a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from daskqueue.testing import InProcessPool


@pytest.fixture
def daskqueue_pool() -> Iterator[InProcessPool]:
    """A pool in this process, empty, with a clock wound by hand; ``run_all()`` runs what was submitted."""
    from daskqueue import testing  # noqa: PLC0415  at pytest's start this would bring all of Dask

    with testing.pool() as pool:
        yield pool
