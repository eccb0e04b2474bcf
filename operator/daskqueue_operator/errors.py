"""What can be wrong with what people ask for."""

from __future__ import annotations


class SpecError(ValueError):
    """A DaskQueue asks for something that cannot be; the text says what and what to do.

    Args:
        path: where it is in the object, such as ``spec.shards.storage``.
        message: what is wrong there, and what would be right.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message
