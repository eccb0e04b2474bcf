"""A type checker understands what users write, and finds what cannot be."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USERS = Path(__file__).with_name("users.py")


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What mypy says of the users' code, by line; run as users do, without the settings of this project."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", ROOT / ".mypy_cache" / "users"]
    command += ["--disable-error-code", "no-redef", "--no-error-summary", USERS]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    found: dict[int, list[str]] = {}
    for line in done.stdout.splitlines():
        number, text = re.fullmatch(r".*users\.py:(\d+): (.*)", line).groups()
        found.setdefault(int(number), []).append(text)
    return found


LINES = list(enumerate(USERS.read_text().splitlines(), 1))


def marked(mark):
    return [
        pytest.param(number, line.partition(mark)[2], id=f"{number}: {line.partition('#')[0].strip()}")
        for number, line in LINES
        if mark in line and number > 1
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("line", "expected"), marked("# T: "))
def test_it_sees_the_type(said, line, expected):
    # Some versions of mypy write builtins.int.
    assert [text.replace("builtins.", "") for text in said[line]] == [f'note: Revealed type is "{expected}"']


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("line", "codes"), marked("# E: "))
def test_it_finds_the_error(said, line, codes):
    found = [text.rpartition("[")[2].rstrip("]") for text in said.get(line, []) if text.startswith("error: ")]
    assert found
    assert set(found) <= set(codes.split("|"))


@pytest.mark.timeout(300)
def test_it_finds_no_other_errors(said):
    expected = {number for number, line in LINES if "# E: " in line}
    others = {line: texts for line, texts in said.items() if line not in expected}
    assert {
        line: texts for line, texts in others.items() if any(text.startswith("error") for text in texts)
    } == {}


def test_the_wheel_says_that_it_is_typed(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"daskqueue/py.typed", "daskqueue/testing/__init__.py", "pytest_daskqueue/__init__.py"} <= set(
        names
    )
