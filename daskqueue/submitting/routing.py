"""Which queue the messages of a key or a group go to."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


@lru_cache(maxsize=4096)
def home_of(name: str, n_queues: int) -> int:
    """Return the number of the queue for *name* out of *n_queues*, the same in every process.

    By rendezvous hashing: with one queue more, only those names move that move to it.
    """
    letters = name.encode("utf-8", "surrogatepass")
    weights = (
        blake2b(letters, digest_size=8, salt=queue.to_bytes(4, "big")).digest() for queue in range(n_queues)
    )
    return max(zip(weights, range(n_queues), strict=False))[1]
