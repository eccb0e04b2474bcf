"""The manifests of two DaskQueues, written down; `python tests/operator/golden.py` writes them anew."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

sys.path[:0] = [
    str(Path(__file__).parent),
    str(Path(__file__).parents[1]),
]  # for the script; pytest knows them

from made import wanted  # noqa: E402
from manifests import EVERYTHING  # noqa: E402

FOLDER = Path(__file__).parent / "golden"


def cases():
    """Return each golden file's name, and what belongs into it."""
    return {
        "four_lines.yaml": wanted(consumers=0),
        "everything.yaml": wanted(EVERYTHING),
    }


def text(manifests):
    """Return manifests as a file has them."""
    return yaml.dump_all(manifests, Dumper=_Plain, sort_keys=False)


class _Plain(yaml.SafeDumper):
    """Writes no anchors: the same mapping twice is written twice."""

    def ignore_aliases(self, _data):
        return True


if __name__ == "__main__":
    for name, manifests in cases().items():
        (FOLDER / name).write_text(text(manifests))
