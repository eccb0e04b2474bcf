"""The evidence of the demo must be able to say that something is missing."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest

from daskqueue.cli.proof import Proof, RunCounts, process_item, prove, value_of

IDS = [70, 71, 90]
GOOD = {"a": {70: value_of(0), 90: value_of(2)}, "b": {71: value_of(1)}}


def test_the_proof_holds_when_every_task_has_its_own_result():
    proof = prove(IDS, GOOD)
    assert proof == Proof(submitted=3, missing=0, wrong=0, unknown=0)
    assert proof.holds


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ({"a": GOOD["a"]}, Proof(3, missing=1, wrong=0, unknown=0)),
        ({**GOOD, "b": {71: value_of(2)}}, Proof(3, missing=0, wrong=1, unknown=0)),
        ({**GOOD, "c": {72: value_of(3)}}, Proof(3, missing=0, wrong=0, unknown=1)),
        ({}, Proof(3, missing=3, wrong=0, unknown=0)),
    ],
)
def test_the_proof_fails_when_a_result_is_missing_wrong_or_unknown(results, expected):
    proof = prove(IDS, results)
    assert proof == expected
    assert not proof.holds


def test_the_task_returns_its_own_value_and_counts_its_runs(tmp_path):
    counts = RunCounts.create(tmp_path / "runs", 3)
    path = str(tmp_path / "runs")
    assert [process_item(path, task) for task in (0, 2, 2)] == [328350, 328352, 328352]
    assert (counts.started(), counts.repeated()) == (2, 1)


def test_a_run_stays_counted_when_its_process_is_killed(tmp_path):
    counts = RunCounts.create(tmp_path / "runs", 2)
    process = multiprocessing.get_context("spawn").Process(
        target=_run_and_die, args=(str(tmp_path / "runs"),)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert counts.started() == 1


def test_a_count_does_not_run_over(tmp_path):
    counts = RunCounts.create(tmp_path / "runs", 1)
    for _ in range(300):
        counts.add(0)
    assert (counts.started(), counts.repeated()) == (1, 1)


def _run_and_die(path):
    process_item(path, 0)
    os.kill(os.getpid(), signal.SIGKILL)
