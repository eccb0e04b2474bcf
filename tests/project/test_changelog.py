"""The news fragments can be made into a changelog."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FRAGMENTS = sorted(path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md")


def test_every_fragment_is_named_by_issue_and_kind():
    names = [path.name for path in FRAGMENTS]
    assert [n for n in names if not re.fullmatch(r"\d+\.(added|changed|fixed|removed)(\.\d+)?\.md", n)] == []


def test_every_fragment_is_in_the_changelog():
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "next"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    missing = [path.name for path in FRAGMENTS if path.read_text().strip() not in done.stdout]
    assert missing == []
