"""The fixture is there in every project that has daskqueue installed, and costs nothing where it is not used."""

from __future__ import annotations

import os
import subprocess
import sys

TESTS = """
from operator import add

def test_first(daskqueue_pool):
    job = daskqueue_pool.submit(add, 1, 2)
    assert daskqueue_pool.run_all() == 1
    assert job.result() == 3

def test_second(daskqueue_pool):
    assert daskqueue_pool.run_all() == 0
"""


def test_a_users_test_takes_the_fixture(tmp_path):
    (tmp_path / "test_theirs.py").write_text(TESTS)
    # By its name: what is installed here may be older than the entry point, which the wheel's test looks at.
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-p", "pytest_daskqueue"]
    command = [sys.executable, "-m", "pytest", *options, "test_theirs.py"]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_plugin_brings_no_dask_with_it():
    code = (
        "import pytest_daskqueue, sys; sys.exit(any(m in sys.modules for m in ('distributed', 'daskqueue')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
