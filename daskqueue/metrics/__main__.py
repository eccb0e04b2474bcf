"""Prints the table of docs/metrics.md."""

from __future__ import annotations

import sys

from daskqueue.metrics.table import markdown

sys.stdout.write(markdown())
