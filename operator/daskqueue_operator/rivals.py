"""Another operator that serves the same DaskQueue, and wants something else of it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable

from daskqueue_operator.kinds import Manifest
from daskqueue_operator.labels import APPLIED
from daskqueue_operator.observe import Observed

WINDOW_SECONDS = 60.0
MANY = 5  # applies of another within the window; a person who edits our annotation does it once

Key = tuple[str, str]


class Rivals:
    """Counts the applies of others over our own; two operators would replace each other's pods for ever.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ours: dict[tuple[str, str, str], tuple[int, str]] = {}
        self._theirs: dict[Key, deque[float]] = defaultdict(lambda: deque(maxlen=MANY))

    def note(self, applied: Manifest) -> None:
        """Remember an object as we have just applied it."""
        self._ours[_key(applied)] = _state(applied)

    def contest(self, key: Key, observed: Observed) -> str:
        """Return which object somebody else applies again and again in his own way; "" if none.

        Args:
            key: namespace and name of the DaskQueue.
            observed: what is there of it.
        """
        last = ""
        for body in observed.objects.values():
            ours, theirs = self._ours.get(_key(body)), _state(body)
            if ours is not None and theirs[0] > ours[0] and theirs[1] not in ("", ours[1]):
                self._ours[_key(body)] = (theirs[0], ours[1])  # each of them counts once
                self._theirs[key].append(self._clock())
            if ours is not None and theirs[1] not in ("", ours[1]):
                last = f"{body['kind']} {body['metadata']['name']}"
        times = self._theirs[key]
        often = len(times) == MANY and self._clock() - times[0] < WINDOW_SECONDS
        return (last or "its objects") if often else ""


def _key(body: Manifest) -> tuple[str, str, str]:
    return body["metadata"]["namespace"], body["kind"], body["metadata"]["name"]


def _state(body: Manifest) -> tuple[int, str]:
    """Return the version of an object, and the digest of the manifest that was applied last."""
    metadata = body["metadata"]
    return int(metadata["resourceVersion"]), metadata.get("annotations", {}).get(APPLIED, "")
