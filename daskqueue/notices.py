"""Log lines for the person at the notebook.

Nothing is configured at import, and never the root logger: where the program has set up logging, its handlers
get these lines; where nobody has, they go to standard error in the form users of daskqueue know.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("daskqueue")

_FORMAT = "%(asctime)s,%(msecs)d %(levelname)s: %(message)s"


class _WhenNobodyListens(logging.StreamHandler):  # type: ignore[type-arg]
    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def show_notices() -> None:
    """Let INFO lines of daskqueue be seen unless the program has said otherwise."""
    if logger.handlers:
        return
    handler = _WhenNobodyListens()
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
