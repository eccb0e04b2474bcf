"""`daskqueue verify`, `dump`, `replay` and `repair`, as people and machines use them."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
from engine.bench import ALICE, Bench
from typer.testing import CliRunner

from daskqueue.batch import encode_calls
from daskqueue.cli.main import app
from daskqueue.message import PutOptions
from daskqueue.storage.fs import LocalFileSystem

GOLDEN = Path(__file__).parents[1] / "engine" / "golden" / "v1-options" / "default-queue-0"
SOUND, WRONG, UNUSABLE = 0, 1, 2


@pytest.fixture
def pool(tmp_path):
    """The folder of a pool with two queues."""
    folder = tmp_path / "pool"
    shutil.copytree(GOLDEN, folder / "default-queue-0")
    shutil.copytree(GOLDEN, folder / "default-queue-1")
    (folder / "default-queue-1" / "default-queue-0.index").rename(
        folder / "default-queue-1" / "default-queue-1.index"
    )
    record = {"format": 1, "pool": "an id", "name": "default", "queues": 2}
    (folder / "pool.json").write_text(json.dumps(record))
    return folder


def run(*arguments):
    """Run a command; return its exit code and what it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def damage(folder, what):
    """Flip a bit of the first place that reads *what* in the log of a queue."""
    for path in sorted(folder.glob("*.log")):
        data = bytearray(path.read_bytes())
        if what in data:
            data[data.index(what)] ^= 1
            path.write_bytes(data)
            return path.name
    raise AssertionError(f"{what!r} is not in the log")


def test_a_sound_pool_is_called_sound(pool):
    code, said = run("verify", pool)
    assert code == SOUND
    assert said.startswith(f"{pool}: the pool 'default', 2 queues\n")
    assert "messages: 1 ready, 4 delayed, 2 leased, 1 dead, 3 settled; 11 were put" in said
    assert said.endswith(f"{pool}: sound\n")


def test_what_is_wrong_is_said_with_what_it_means_and_what_to_do(pool):
    name = damage(pool / "default-queue-1", b"pending")
    code, said = run("verify", pool)
    assert code == WRONG
    assert f"WRONG: {name}: " in said
    assert "do: " in said
    assert "WRONG: 1 message cannot be read: 7\n" in said
    assert said.endswith(f"{pool}: something is wrong, see above; every queue opens\n")


def test_machines_read_the_same(pool):
    name = damage(pool / "default-queue-1", b"pending")
    code, said = run("verify", pool, "--json")
    report = json.loads(said)
    assert code == report["exit_code"] == WRONG
    sound, damaged = report["queues"]
    assert sound["findings"] == []
    assert damaged["log"]["damaged"][0][0] == name
    assert {finding["level"] for finding in damaged["findings"]} == {"wrong", "note"}
    assert damaged["unreadable"]


@pytest.mark.parametrize("command", [["verify"], ["dump"], ["replay"], ["repair", "--to", "new"]])
def test_what_is_no_folder_of_queues_is_refused_with_a_sentence(tmp_path, command):
    code, said = run(command[0], tmp_path / "nowhere", *command[1:])
    assert (code, said) == (UNUSABLE, f"daskqueue: there is no folder {tmp_path / 'nowhere'}\n")
    assert not Path("new").exists()


def test_a_dump_shows_each_frame_with_its_place_and_its_fields(pool):
    code, said = run("dump", pool / "default-queue-0")
    lines = said.splitlines()
    assert code == SOUND
    assert lines[0] == f"# {pool / 'default-queue-0'}"
    assert lines[1].startswith("00000000000000000000.log:64 32 Lengths epoch=1")
    assert any(" Enqueued first=1 count=1 " in line and '"priority": 9' in line for line in lines)


def test_a_dump_for_machines_is_a_line_for_each_frame(pool):
    rows = [json.loads(line) for line in run("dump", pool, "--json", "--queue", 1)[1].splitlines()]
    assert {row["queue"] for row in rows} == {"default-queue-1"}
    assert [row["name"] for row in rows][:3] == ["Lengths", "Carried", "Restarted"]
    cut = [json.loads(line) for line in run("dump", pool, "--json", "--limit", 3)[1].splitlines()]
    assert [row["offset"] for row in cut] == [64, 96, 160]


def test_a_dump_may_begin_anywhere_that_it_has_shown(pool):
    rows = [json.loads(line) for line in run("dump", pool, "--json", "--queue", 0)[1].splitlines()]
    later = rows[7]
    place = f"{int(later['file'].split('.')[0])}:{later['offset']}"
    found = run("dump", pool, "--json", "--queue", 0, "--from", place)[1].splitlines()
    assert [json.loads(line) for line in found] == rows[7:]
    for nowhere in ("there", "0:63", "0", ":64"):
        assert run("dump", pool, "--from", nowhere)[0] == 2


def test_a_dump_shows_what_is_damaged_and_goes_on(pool):
    damage(pool / "default-queue-0", b"pending")
    rows = [json.loads(line) for line in run("dump", pool, "--json", "--queue", 0)[1].splitlines()]
    kinds = [row["name"] for row in rows]
    assert kinds.count("damaged") == 1
    assert kinds[-1] == "Enqueued"


def test_results_are_dumped_as_well(pool):
    rows = [
        json.loads(line) for line in run("dump", pool, "--json", "--results", "--queue", 0)[1].splitlines()
    ]
    states = [row["fields"]["state"] for row in rows if row["name"] == "Outcome"]
    assert states == ["returned", "cancelled", "expired"]


def test_payloads_are_told_without_unpickling_them(tmp_path, monkeypatch):
    bench = Bench(LocalFileSystem(), tmp_path / "queue").open()
    calls = encode_calls([(len, "a"), (len, "b"), (lambda: 1,)])
    bench.run(bench.engine.put(ALICE, [(1, calls, PutOptions())]))
    bench.close()
    bench.clear_away()
    monkeypatch.setattr(pickle, "loads", None)
    rows = [
        json.loads(line) for line in run("dump", tmp_path / "queue", "--json", "--payloads")[1].splitlines()
    ]
    (batch,) = [row["fields"]["batch"] for row in rows if row["name"] == "Enqueued"]
    assert (batch["messages"], batch["holds"]) == (3, ["calls"])
    assert batch["functions"][1:] == ["builtins.len"]
    assert batch["functions"][0].startswith("a function pickled by value, ")


def test_a_queue_that_is_not_there_is_refused(pool):
    code, said = run("dump", pool, "--queue", 7)
    assert code == 2
    assert "no queue 7" in said


def test_a_replay_shows_the_state_and_that_the_checkpoint_agrees(pool):
    code, said = run("replay", pool, "--queue", 0)
    assert code == SOUND
    assert "1 ready, 4 delayed, 2 leased, 1 dead; 11 were put" in said
    assert "lease 3 of carol: 1 message, 2" in said
    assert "dead letters: 1 raised" in said
    assert "the log alone says the same" in said
    state = json.loads(run("replay", pool, "--queue", 0, "--json")[1])
    assert state["agree"] is True
    assert state["state"]["counters"]["enqueued"] == 11


def test_a_replay_says_where_the_log_has_lost_what_the_checkpoint_knows(pool):
    damage(pool / "default-queue-0", b"raised")
    code, said = run("replay", pool, "--queue", 0)
    assert code == WRONG
    assert "DIFFERENT without the checkpoint: dead letters: 1" in said


def test_a_repair_says_what_it_has_left_behind(pool, tmp_path):
    damage(pool / "default-queue-1", b"pending")
    code, said = run("repair", pool, "--to", tmp_path / "new")
    assert code == WRONG
    assert "default-queue-0: 8 messages and 3 records of results written" in said
    assert "left behind, their bytes are damaged: " in said
    assert run("verify", tmp_path / "new")[0] == SOUND
    assert run("repair", pool, "--to", tmp_path / "new")[0] == UNUSABLE
    code, said = run("repair", pool / "default-queue-0", "--to", tmp_path / "one", "--json")
    assert (code, json.loads(said)["left_behind"]) == (SOUND, 0)
