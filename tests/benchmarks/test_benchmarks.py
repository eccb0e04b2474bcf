"""Each benchmark runs, at tiny sizes, and says what it measured. What it measured is nobody's business here."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
TITLES = {
    "throughput": ["End to end", "Durable enqueue", "One task there and back"],
    "throughput --hosts": ["Hosts beside a LocalCluster"],
    "features": ["Each option beside the plain path", "Single submits", "A test with daskqueue.testing"],
    "backlog": ["20,000 pending messages"],
    "idle": ["8 idle consumers"],
}
SPREAD = {"median", "low", "high"}


def run(name, *arguments):
    script, *options = name.split()
    command = [sys.executable, FOLDER / f"{script}.py", *options, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class Outcome(NamedTuple):
    """What a benchmark printed, and the figures it wrote."""

    printed: str
    sections: list


@pytest.fixture(scope="module")
def outcome_of(tmp_path_factory):
    """Runs a benchmark by its name, once."""

    @functools.cache
    def outcome(name):
        folder = tmp_path_factory.mktemp(name)
        done = run(name, "--quick", "--json", folder / "figures.json", "--folder", folder)
        assert done.returncode == 0, done.stderr
        return Outcome(done.stdout, json.loads((folder / "figures.json").read_text())["sections"])

    return outcome


@pytest.mark.parametrize("name", TITLES)
def test_it_has_a_table_for_everything_it_measures(outcome_of, name):
    titles = [section["title"] for section in outcome_of(name).sections]
    assert len(titles) == len(TITLES[name])
    assert all(map(str.startswith, titles, TITLES[name]))


@pytest.mark.parametrize("name", TITLES)
def test_each_row_begins_with_its_ratio_and_all_rows_of_a_table_are_alike(outcome_of, name):
    for section in outcome_of(name).sections:
        columns = [list(row) for row in section["rows"]]
        assert columns, section["title"]
        assert all(row == columns[0] for row in columns)
        assert any(word in columns[0][0] for word in ("ratio", "pings"))


@pytest.mark.parametrize("name", TITLES)
def test_a_measured_range_has_its_median_within_its_ends(outcome_of, name):
    cells = [
        cell for section in outcome_of(name).sections for row in section["rows"] for cell in row.values()
    ]
    ranges = [cell for cell in cells if isinstance(cell, dict)]
    assert all(set(cell) == SPREAD and cell["low"] <= cell["median"] <= cell["high"] for cell in ranges)


@pytest.mark.parametrize("name", TITLES)
def test_the_printed_tables_are_those_of_the_file(outcome_of, name):
    printed, sections = outcome_of(name)
    assert printed.startswith(f"# {name.split()[0]}\n")
    rows = [line for line in printed.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    assert len(rows) == sum(1 + len(section["rows"]) for section in sections)


def test_throughput_compares_both_shapes_durable_and_transient(outcome_of):
    rows = outcome_of("throughput").sections[0]["rows"]
    assert {row["durability"] for row in rows} == {"-", "durable", "transient"}
    assert {row["batch"] for row in rows} == {None, 1, 100, 1_000, 10_000}
    assert len({row["what"] for row in rows}) == 4


def test_the_features_are_measured_beside_the_plain_path_and_beside_noise(outcome_of):
    options = [row["option"] for row in outcome_of("features").sections[0]["rows"]]
    assert options[0] == "nothing (noise)"
    for word in (
        "priority",
        "group, one",
        "key",
        "delay",
        "timeout",
        "middleware",
        "processes",
        'results="none"',
    ):
        assert any(word in option for option in options), word


def test_the_readme_names_every_benchmark_and_option():
    text = (FOLDER / "README.md").read_text()
    for name in TITLES:
        script, *options = name.split()
        assert f"`{' '.join([f'python benchmarks/{script}.py', *options])}`" in text
        assert all(option in text for option in ("--json PATH", "--quick", "--folder PATH"))


def test_an_unknown_option_is_refused():
    done = run("idle", "--fast")
    assert done.returncode == 2
    assert "--fast" in done.stderr
