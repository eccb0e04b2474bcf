"""The ten lines of the README do what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from daskqueue import testing

README = Path(__file__).parents[2] / "README.md"


def blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_readmes_options_are_options():
    with testing.pool() as queues:
        told = {"queues": queues, "make_thumbnail": str.upper}
        exec(blocks()[1], told)
        assert queues.run_all() == 1
        assert told["job"].result() == "A.PNG"


def test_the_readmes_code_does_the_job(tmp_path):
    code = blocks()[0]
    assert len([line for line in code.splitlines() if line]) == 10
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "144\n"
    assert "Traceback" not in done.stderr
    assert (tmp_path / "queue_dir" / "pool.json").exists()
