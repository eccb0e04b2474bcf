"""Folders of durable pools: whose they are, what is in them, who may open them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from clusters import Cluster

from daskqueue import ConsumerPool, QueuePool
from daskqueue.errors import FolderError, FolderInUseError, FormatError, StorageError

from .conftest import values_of


def double(number):
    return 2 * number


def everything_below(folder):
    """Return all files with what is in them."""
    return {
        path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_looks_as_in_the_notebook(client, tmp_path):
    pool = QueuePool(client, 2, durability="durable", dirpath=tmp_path / "queue_dir")
    assert (tmp_path / "queue_dir" / "pool.json").is_file()
    for index in range(2):
        folder = tmp_path / "queue_dir" / f"default-queue-{index}"
        assert (folder / "00000000000000000000.log").is_file()
        assert (folder / f"default-queue-{index}.index").is_file()
    assert pool.dirpath == str(tmp_path / "queue_dir")


def test_a_new_queue_takes_kilobytes(make, tmp_path):
    pool = make.queues(4, durable=True)
    size = sum(path.stat().st_blocks * 512 for path in Path(pool.dirpath).rglob("*"))
    assert size < 4 * 64 * 1024


def test_files_and_folders_are_the_users_own(make):
    pool = make.queues(2, durable=True)
    pool.submit(double, 1)
    folder = Path(pool.dirpath)
    assert mode_of(folder) == 0o700
    assert {mode_of(path) for path in folder.rglob("*") if path.is_dir()} == {0o700}
    assert {mode_of(path) for path in folder.rglob("*") if path.is_file()} == {0o600}


def test_without_a_dirpath_it_is_the_users_data_folder(client, name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    pool = QueuePool(client, durability="durable", name=name)
    assert pool.dirpath == str(tmp_path / "data" / "daskqueue" / name)
    assert mode_of(tmp_path / "data" / "daskqueue" / name) == 0o700


def test_without_xdg_it_is_below_the_home_folder(client, name, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    pool = QueuePool(client, durability="durable", name=name)
    assert pool.dirpath == str(tmp_path / ".local" / "share" / "daskqueue" / name)


def test_a_relative_dirpath_is_relative_to_the_client(client, name, tmp_path, monkeypatch, caplog):
    caplog.set_level("DEBUG", logger="daskqueue")
    monkeypatch.chdir(tmp_path)
    pool = QueuePool(client, durability="durable", dirpath="some/folder", name=name)
    assert pool.dirpath == str(tmp_path / "some" / "folder")
    assert (tmp_path / "some" / "folder" / "pool.json").is_file()
    assert any(str(tmp_path / "some" / "folder") in record.getMessage() for record in caplog.records)


def test_nothing_is_written_outside_the_folder(client, name, tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    pool = QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name=name)
    consumers = ConsumerPool(client, pool)
    consumers.start()
    pool.map(double, range(100))
    consumers.join(timeout=30)
    assert list((tmp_path / "cwd").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"cwd", "queues"}


def test_a_folder_that_cannot_be_made_is_refused(client, name, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FolderError, match="file"):
        QueuePool(client, durability="durable", dirpath=tmp_path / "file" / "queues", name=name)
    with pytest.raises(FolderError, match="file"):
        QueuePool(client, durability="durable", dirpath=tmp_path / "file", name=name)
    assert (tmp_path / "file").read_text() == "not a folder"


def test_queue_folders_of_something_else_are_refused_and_left_alone(client, tmp_path):
    strange = tmp_path / "queues" / "default-queue-0"
    strange.mkdir(parents=True)
    (strange / "00000000000000000000.log").write_bytes(b"\0" * 5000)
    before = everything_below(tmp_path)
    with pytest.raises(FolderError, match=r"not made by this version"):
        QueuePool(client, durability="durable", dirpath=tmp_path / "queues")
    assert everything_below(tmp_path) == before


def test_a_log_that_is_no_log_is_refused_and_left_alone(client, tmp_path):
    pool = QueuePool(client, durability="durable", dirpath=tmp_path / "queues")
    record = (tmp_path / "queues" / "pool.json").read_bytes()
    del pool
    foreign = tmp_path / "foreign"
    (foreign / "default-queue-0").mkdir(parents=True)
    (foreign / "pool.json").write_bytes(record)
    (foreign / "default-queue-0" / "00000000000000000000.log").write_bytes(b"something else" * 100)
    before = (foreign / "default-queue-0" / "00000000000000000000.log").read_bytes()
    with pytest.raises(StorageError):
        QueuePool(client, durability="durable", dirpath=foreign)
    assert (foreign / "default-queue-0" / "00000000000000000000.log").read_bytes() == before


def test_a_pool_of_another_name_is_refused_and_left_alone(client, tmp_path):
    first = QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name="invoices")
    record = (tmp_path / "queues" / "pool.json").read_bytes()
    with pytest.raises(FolderError, match="'invoices'"):
        QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name="letters")
    assert (tmp_path / "queues" / "pool.json").read_bytes() == record
    del first


def test_more_queues_than_before_are_added(client, name, tmp_path):
    first = QueuePool(client, 1, durability="durable", dirpath=tmp_path / "queues", name=name)
    first.submit(double, 1)
    second = QueuePool(client, 3, durability="durable", dirpath=tmp_path / "queues", name=name)
    assert sorted(second.get_queue_size().values()) == [0, 0, 1]


def test_a_newer_format_is_refused_and_left_alone(client, tmp_path):
    (tmp_path / "queues").mkdir()
    record = json.dumps({"format": 99, "pool": "x", "name": "default", "queues": 1})
    (tmp_path / "queues" / "pool.json").write_text(record)
    with pytest.raises(FormatError, match="99"):
        QueuePool(client, durability="durable", dirpath=tmp_path / "queues")
    assert (tmp_path / "queues" / "pool.json").read_text() == record
    assert os.listdir(tmp_path / "queues") == ["pool.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": "one"}', "null", "3"])
def test_a_damaged_record_is_refused_and_left_alone(client, tmp_path, content):
    (tmp_path / "queues").mkdir()
    (tmp_path / "queues" / "pool.json").write_text(content)
    with pytest.raises(FolderError, match=r"pool\.json"):
        QueuePool(client, durability="durable", dirpath=tmp_path / "queues")
    assert (tmp_path / "queues" / "pool.json").read_text() == content


def test_the_same_cluster_adopts_the_queues_that_are_served(client, cluster, name, tmp_path):
    first = QueuePool(client, 2, durability="durable", dirpath=tmp_path / "queues", name=name)
    first.map(double, range(10), batch_size=5)
    with cluster.connect() as other:
        second = QueuePool(other, 2, durability="durable", dirpath=tmp_path / "queues", name=name)
        assert repr(second) == repr(first)
        consumers = ConsumerPool(other, second)
        consumers.start()
        consumers.join(timeout=30)
        assert len(values_of(consumers.results())) == 10
        del second, consumers
    assert list(first.get_queue_size().values()) == [0, 0]
    # The other client went, with its handles; the queues are still the first one's.
    assert first.submit(double, 1).cancel()


def test_another_cluster_is_refused_with_the_owner_named(client, name, tmp_path, monkeypatch):
    monkeypatch.setattr("daskqueue.actors.queues.HANDOVER_SECONDS", 0.3)
    first = QueuePool(client, 2, durability="durable", dirpath=tmp_path / "queues", name=name)
    first.map(double, range(10))
    with Cluster(n_workers=1) as elsewhere, elsewhere.connect() as other:
        for n_queues in (2, 3):
            before = everything_below(tmp_path)
            with pytest.raises(FolderInUseError) as caught:
                QueuePool(other, n_queues, durability="durable", dirpath=tmp_path / "queues", name=name)
            assert client.scheduler.address in str(caught.value)
            assert caught.value.owner["cluster"] == client.scheduler.address
            assert caught.value.owner["host"] in {ref.address for _, ref in first.queues.refs}
            assert everything_below(tmp_path) == before
    consumers = ConsumerPool(client, first)
    consumers.start()
    consumers.join(timeout=30)
    assert len(values_of(consumers.results())) == 10


def test_a_folder_is_free_again_when_its_cluster_is_gone(name, tmp_path):
    for first, last in ((0, 5), (5, 8)):
        with Cluster(n_workers=1) as cluster, cluster.connect() as client:
            pool = QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name=name)
            assert sum(pool.get_queue_size().values()) == first
            pool.map(double, range(first, last))
            del pool
    with Cluster(n_workers=1) as cluster, cluster.connect() as client:
        pool = QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name=name)
        consumers = ConsumerPool(client, pool)
        consumers.start()
        consumers.join(timeout=30)
        assert sorted(values_of(consumers.results())) == [2 * number for number in range(8)]
        del pool, consumers


def test_dropping_the_handle_gives_the_folder_back(client, name, tmp_path):
    """The next one finds everything, without an error or a long wait."""
    pool = QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name=name)
    pool.map(double, range(10))
    del pool
    again = QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name=name)
    assert sum(again.get_queue_size().values()) == 10


def test_two_pools_in_one_folder_of_folders_do_not_meet(client, tmp_path):
    pools = [
        QueuePool(client, durability="durable", dirpath=tmp_path / part, name=part) for part in ("one", "two")
    ]
    for number, pool in enumerate(pools):
        pool.map(double, range(number + 1))
    assert [sum(pool.get_queue_size().values()) for pool in pools] == [1, 2]


def test_two_pools_of_the_same_name_in_two_folders_do_not_meet(client, tmp_path):
    pools = [QueuePool(client, durability="durable", dirpath=tmp_path / part) for part in ("one", "two")]
    for number, pool in enumerate(pools):
        pool.map(double, range(number + 1))
    assert [sum(pool.get_queue_size().values()) for pool in pools] == [1, 2]
