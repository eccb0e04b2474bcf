"""What a DaskQueue says reaches the hosts: ``daskqueue serve`` itself reads the files that are made for them."""

from __future__ import annotations

import dataclasses
import logging
import os
import string

import pytest
import yaml
from made import wanted
from manifests import ACCEPTED, EVERYTHING
from typer.testing import CliRunner

from daskqueue.cli import serve
from daskqueue.engine.settings import QueueSettings
from daskqueue_operator.build.configuration import CONSUMER_FILE, QUEUE_FILE

HERE = {"name": "inv", "scheduler": "tcp://inv-scheduler.shop:8786"}
HOSTS = {"queue": QUEUE_FILE, "consumer": CONSUMER_FILE}


@pytest.fixture
def served(monkeypatch, tmp_path):
    """Start a host with the file that a spec makes; return the options that it got."""
    seen = []
    monkeypatch.setattr(serve, "_run", lambda make, *_: seen.append(make()))
    monkeypatch.setattr(serve, "QueueHost", lambda options: options)
    monkeypatch.setattr(serve, "ConsumerHost", lambda options: options)

    def start(kind, spec):
        config_map = next(each for each in wanted(spec) if each["kind"] == "ConfigMap")
        path = tmp_path / HOSTS[kind]
        path.write_text(config_map["data"][HOSTS[kind]])
        flags = [part for key, value in HERE.items() for part in (f"--{key}", value)]
        done = CliRunner().invoke(serve.app, [kind, *flags, "--config", str(path)])
        assert done.exit_code == 0, done.output
        return seen.pop()

    return start


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED)
@pytest.mark.parametrize("kind", HOSTS)
def test_a_host_takes_all_that_is_written_for_it(served, kind, spec):
    assert served(kind, spec).name == "inv"


def test_four_lines_are_the_defaults_of_the_library_too(served):
    queue, consumer = served("queue", {}), served("consumer", {})
    assert queue.settings == QueueSettings()
    assert queue.defaults == {"retries": 0, "overflow": "block"}
    assert (consumer.slots, consumer.executor, consumer.batch_size) == (1, "threads", 1000)


def test_what_is_the_default_is_not_said_to_a_host_that_may_be_older():
    said = next(each for each in wanted({}) if each["kind"] == "ConfigMap")["data"]
    assert set(yaml.safe_load(said[QUEUE_FILE])) == {
        "dir", "fsync", "lease", "local_directory", "max_deliveries", "metrics_port", "port",
    }  # fmt: skip
    assert set(yaml.safe_load(said[CONSUMER_FILE])) == {
        "drain", "local_directory", "metrics_port", "port", "slots",
    }  # fmt: skip


def test_everything_that_is_said_arrives(served):
    queue, consumer = served("queue", EVERYTHING), served("consumer", EVERYTHING)
    assert queue.settings == QueueSettings(
        fsync="interval:20",
        max_messages=1_000_000,
        max_bytes=20 * 2**30,
        max_losses=3,
        backoff_seconds=2.0,
        backoff_max_seconds=60.0,
        lease_seconds=90.0,
        results="memory",
        result_ttl_seconds=3600.0,
        result_bytes=512 * 2**20,
        result_count=50_000,
    )
    assert queue.defaults == {"retries": 4, "overflow": "drop_oldest"}
    handler, function = consumer.middleware
    assert (type(handler), function) == (logging.NullHandler, string.capwords)
    assert consumer.resources == {"cwd": os.getcwd}
    assert dataclasses.replace(consumer, place=None) == dataclasses.replace(
        consumer, place=None, slots=4, executor="processes", batch_size=50, drain_seconds=120.0
    )
