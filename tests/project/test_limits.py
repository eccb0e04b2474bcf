"""The numbers of docs/limits.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from daskqueue import message
from daskqueue.engine.settings import QueueSettings
from daskqueue.storage import frame

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
DEFAULTS = QueueSettings()


def test_the_table_has_the_numbers_of_the_code():
    rows = re.findall(r"^\| .* \| ([\d,]+) \| `([\w.]+)` \|$", PAGE.read_text(), re.MULTILINE)
    assert {where: int(number.replace(",", "")) for number, where in rows} == {
        "message.MAX_QUEUES": message.MAX_QUEUES,
        "message.SEQUENCE_BITS": 1 << message.SEQUENCE_BITS,
        "storage.frame.MAX_PAYLOAD": frame.MAX_PAYLOAD,
        "QueueSettings.max_losses": DEFAULTS.max_losses,
        "QueueSettings.lease_seconds": DEFAULTS.lease_seconds,
        "QueueSettings.backoff_max_seconds": DEFAULTS.backoff_max_seconds,
        "QueueSettings.result_ttl_seconds": DEFAULTS.result_ttl_seconds / 86400,
        "QueueSettings.result_bytes": DEFAULTS.result_bytes,
    }
