"""Producers, consumers and upkeep at the same time on one event loop."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import pytest

from daskqueue.batch import Batch, encode_items
from daskqueue.core.tally import Receipt
from daskqueue.engine import outcome_log
from daskqueue.message import PutOptions, Run
from daskqueue.results import encode_results

SEGMENT = 4096


async def produce(bench, number, rounds):
    producer = bytes([number]) * 16
    firsts = []
    for turn in range(rounds):
        values = [f"{number}/{turn}/{step} {'x' * 30}" for step in range(3)]
        firsts += await bench.engine.put(producer, [(turn, encode_items(values), PutOptions())])
    return firsts


async def consume(bench, name, seen, total):
    request = 0
    while len(seen) < total:
        request += 1
        leased = await bench.engine.leases.lease(name, "pool", request, 5, 1 << 20)
        if leased is None:
            await asyncio.sleep(0)
            continue
        for part in leased.slices:
            values = list(Batch.parse(part.data).items())
            seen.update(zip(range(part.first, part.first + part.size), values, strict=True))
            blob, _ = encode_results(values)
            await bench.engine.writable()
            runs = [Run(part.first, part.first + part.size)]
            assert bench.engine.leases.ack(Receipt(leased.lease, leased.epoch), runs, blob) == 0


@pytest.mark.parametrize("producers", [1, 6])
def test_nothing_is_lost_while_segments_roll_and_go(make_bench, fs, producers):
    bench = make_bench(fs, segment_bytes=SEGMENT)
    rounds = 240 // producers
    total = 3 * producers * rounds
    seen = {}

    async def everything():
        consumers = [consume(bench, f"consumer {number}", seen, total) for number in range(3)]
        made = [produce(bench, number, rounds) for number in range(producers)]
        firsts, *_ = await asyncio.gather(asyncio.gather(*made), *consumers)
        return firsts

    with patch.object(outcome_log, "SEGMENT_BYTES", SEGMENT):
        firsts = bench.run(asyncio.wait_for(everything(), 60))
        assert sorted(first for made in firsts for first in made) == list(range(0, total, 3))
        for number, made in enumerate(firsts):
            for turn, first in enumerate(made):
                assert [seen[first + step].split()[0] for step in range(3)] == [
                    f"{number}/{turn}/{step}" for step in range(3)
                ]
        bench.let_it_work()
        assert bench.engine._files.log.segments[0].number > 0
        assert bench.results() == seen
        bench.reopen(kill=True)
        assert bench.results() == seen
        assert bench.drain() == {}
