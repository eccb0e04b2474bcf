"""Pods are asked over HTTP; those that do not answer, or not in time, or nonsense, are not there."""

from __future__ import annotations

import asyncio
import math
import time

import pytest
from fake_pods import Stage

from daskqueue_operator import names, scrape
from daskqueue_operator.consumer_pods import Pod
from daskqueue_operator.scrape import ConsumerReading, Scraper, ShardReading, samples, shard_reading


def pods(stage, *names):
    return [Pod(name, stage.hosts[name].ip) for name in names]


def run(play, **spec):
    async def played():
        async with Stage(**spec) as stage:
            return await play(stage)

    return asyncio.run(played())


def test_a_shard_is_read_from_its_metrics():
    async def play(stage):
        stage.hosts["q-shard-0"].shard(ready=12, leased=30, enqueued=2_000_000, oldest=7.5)
        return await stage.scraper.shards(pods(stage, "q-shard-0"))

    assert run(play) == {"q-shard-0": ShardReading(12, 30, 3, 2, 7.5, 2e6, 1e6, 4.096e9, "1.2.3")}


def test_a_consumer_is_read_from_its_stats_and_the_sum_of_its_metrics():
    async def play(stage):
        (consumer,) = await stage.consumers("a")
        consumer.consumer(busy=1, held=4, seconds=8.0, number=4)
        return await stage.scraper.consumers(pods(stage, "q-consumer-a"))

    assert run(play) == {"q-consumer-a": ConsumerReading(1, 1, 4, False, 8.0, 4.0)}


def test_the_age_of_the_oldest_is_unknown_when_none_waits():
    async def play(stage):
        stage.hosts["q-shard-0"].shard(ready=0, oldest=99.0)
        return await stage.scraper.shards(pods(stage, "q-shard-0"))

    assert run(play)["q-shard-0"].oldest_age_seconds is None


def test_a_shard_that_says_no_number_of_messages_has_not_answered():
    assert shard_reading("daskqueue_enqueued_total 5\n") is None
    assert (
        shard_reading('daskqueue_messages{state="ready"} NaN\ndaskqueue_messages{state="leased"} 0\n') is None
    )
    assert shard_reading("<html>not found</html>") is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("daskqueue_acked_total 7", ("daskqueue_acked_total", "", 7.0)),
        (
            'daskqueue_messages{queue="a",state="ready"} 1e3 1700000000000',
            ("daskqueue_messages", "ready", 1000.0),
        ),
        ('daskqueue_messages{queue="a\\" b}",state="dead"} 2', ("daskqueue_messages", "dead", 2.0)),
        ('daskqueue_x{my_state="ready"} 2', ("daskqueue_x", "", 2.0)),
    ],
)
def test_a_line_of_the_exposition_is_read(line, expected):
    assert list(samples(f"# HELP x\n{line}\nother_metric 1\n")) == [expected]


@pytest.mark.parametrize("line", ["daskqueue_x", "daskqueue_x{a=", "daskqueue_x many", " daskqueue_x 1"])
def test_a_line_that_is_none_is_left_out(line):
    assert list(samples(line)) == []


def test_infinity_is_read_as_it_is():
    assert list(samples("daskqueue_x +Inf")) == [("daskqueue_x", "", math.inf)]


@pytest.mark.parametrize(
    "stats", ["nonsense", "[]", "{}", '{"slots": "x", "busy": 0, "held": 0, "draining": false}']
)
def test_a_consumer_that_talks_nonsense_has_not_answered(stats):
    async def play(stage):
        (consumer,) = await stage.consumers("a")
        consumer.stats = stats
        return await stage.scraper.consumers(pods(stage, "q-consumer-a"))

    assert run(play) == {"q-consumer-a": None}


def test_all_are_asked_at_once_and_those_that_hang_cost_one_deadline():
    async def play(stage):
        for host in await stage.consumers(*"abcdefgh"):
            host.silent = True
        stage.hosts["q-consumer-h"].silent = False
        began = time.monotonic()
        answers = await stage.scraper.consumers(pods(stage, *(f"q-consumer-{name}" for name in "abcdefgh")))
        assert time.monotonic() - began < 2.0  # one after the other it would be seven times half a second
        assert [name for name, answer in answers.items() if answer] == ["q-consumer-h"]

    run(play)


def test_nobody_at_an_address_or_no_address_is_no_answer():
    async def play(stage):
        return await stage.scraper.shards([Pod("gone", "127.0.1.200"), Pod("pending", None)])

    assert run(play) == {"gone": None, "pending": None}


def test_an_order_to_drain_is_answered_with_what_is_left():
    async def play(stage):
        (consumer,) = await stage.consumers("a")
        consumer.consumer(busy=1, held=4)
        told = await stage.scraper.drain(pods(stage, "q-consumer-a"))
        assert told == {"q-consumer-a": ConsumerReading(1, 1, 0, True)}
        back = await stage.scraper.undrain(pods(stage, "q-consumer-a"))
        assert back == {"q-consumer-a": ConsumerReading(1, 1, 0, False)}
        assert consumer.calls == ["POST /drain", "DELETE /drain"]

    run(play)


def test_a_closed_scraper_can_be_asked_again():
    async def play(stage):
        await stage.scraper.close()
        await stage.scraper.close()
        assert (await stage.scraper.shards(pods(stage, "q-shard-0")))["q-shard-0"] is not None

    run(play)


def test_pods_listen_where_the_operator_asks():
    assert scrape.PORT == names.METRICS_PORT
    assert Scraper()
