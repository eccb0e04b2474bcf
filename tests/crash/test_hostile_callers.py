"""Callers who tell a queue nonsense: they get a typed error, and nobody else notices that they were there."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from zlib import crc32

import pytest

from daskqueue.actors.queue import QueueService
from daskqueue.actors.queue_spec import QueueSpec
from daskqueue.batch import Batch, encode_calls, encode_items
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import BatchError, DaskQueueError, QueueError
from daskqueue.message import Durability, PutOptions, Terms
from daskqueue.results import decode_results, encode_results

from .injected import injected, seeds
from .rubbish import any_value, changed

ALICE = b"alice".ljust(16)
PLENTY = 1 << 30
THIS = object()  # the incarnation of the queue
NAN = float("nan")
BATCH = encode_items(["one", "two"])


def service_at(folder):
    spec = QueueSpec(
        pool_id="hosted:told",
        pool_name="told",
        index=0,
        key="told-queue-0",
        durability=Durability.DURABLE,
        dirpath=str(folder),
        former_incarnation=0,
        settings=QueueSettings(),
        hosted=True,
        defaults={},
    )
    return QueueService(spec, SimpleNamespace(address="", scheduler=None), asyncio.get_running_loop())


def wire(**options):
    return tuple(PutOptions(**options))


class Honest:
    """A client and a consumer that tell no nonsense, and what they know."""

    def __init__(self, service):
        self.service = service
        self.calls = 0

    async def go_round(self):
        """Put a value, get it, and see its result."""
        self.calls += 1
        value = f"value {self.calls}"
        (first,) = await self.service.put(ALICE, [(self.calls, encode_items([value]), wire())], 1.0)
        found = None
        while found is None:
            leased = await self.service.exchange(
                "honest", "pool", [], 2 * self.calls, 1000, 1000, PLENTY, False
            )
            self.calls += 1
            assert leased is not None, f"message {first} is not handed out"
            number, epoch, slices, _ = leased
            taken = [(since, since + size) for since, size, _ in slices]
            for since, size, data in slices:
                if since <= first < since + size:
                    (found,) = Batch.parse(Batch.parse(data).slice(first - since, first - since + 1)).items()
            blob, _ = encode_results([value] * sum(last - since for since, last in taken))
            await self.service.exchange("honest", "pool", [(number, epoch, taken, blob)], 0, 0, 1, 1, False)
        assert found == value
        ((state, _, blob, _),) = await self.service.wait_settled(
            "honest", self.service._incarnation, [(first, first + 1)], 1.0
        )
        assert (state, decode_results(blob)) == ("returned", [value])


NUMBERS = (0, 1, -1, 2.5, NAN, float("inf"), 1 << 63, 1 << 80, True, None, "7", b"7", [], ())


def a_number(rng):
    return rng.choice(NUMBERS)


def some_runs(rng):
    return rng.choice(
        (
            [], [(0, 1)], [(1, 0)], [(0, 1 << 70)], [(0.5, 1.5)], [(NAN, NAN)], [(-5, 3)], [("a", "b")], [(0,)],
            [(0, 1, 2)], None, 7, [[0, 5], [3, 9], [3, 9]], [(True, False)], "text", [None],
        )
    )  # fmt: skip


def some_bytes(rng):
    blob = encode_results([1])[0]
    return rng.choice(
        (
            b"",
            None,
            "text",
            7,
            rng.randbytes(50),
            BATCH,
            blob,
            changed(rng, blob),
            changed(rng, BATCH),
            [b"x"],
        )
    )


def some_options(rng):
    options = list(wire())
    options[rng.randrange(6)] = rng.choice((a_number(rng), any_value(rng)))
    terms = list(Terms())
    terms[rng.randrange(len(terms))] = rng.choice((a_number(rng), any_value(rng)))
    return rng.choice((options, [*wire()[:5], terms], [*wire()[:5], Terms(key="k")], options[:3], None, 7))


def a_settlement(rng):
    fields = [a_number(rng), a_number(rng), some_runs(rng), some_bytes(rng), some_runs(rng), some_bytes(rng)]
    fields += [rng.choice(("why", 7, None)), rng.choice((True, 5)), some_runs(rng), rng.choice((True, False))]
    fields += [a_number(rng), some_runs(rng), some_runs(rng)]
    return rng.choice((fields, fields, [1, 1, *fields[2:]], fields[: rng.randrange(14)], None))


def a_name(rng):
    return rng.choice(("honest", "mallory", "", 7, None, [], b"bytes", NAN))


CALLS = {
    "put": lambda rng: (
        rng.choice((b"mallory".ljust(16), b"", "text", None, 7, bytes(10_000))),
        rng.choice((
            [(a_number(rng), some_bytes(rng), some_options(rng))],
            [(5, BATCH, wire()), (a_number(rng), BATCH, some_options(rng))],
            [(rng.randrange(9), BATCH, (*wire()[:5], Terms(key="k")))], None, 7, [()],
        )),
        rng.choice((0.0, NAN, "text", None)),
    ),
    "cancel": lambda rng: (THIS, rng.choice(([(5000, 6000)], [(0.5, 0.7)], [("a", 1)], [(0,)], None, 7))),
    "exchange": lambda rng: (
        a_name(rng), a_name(rng), rng.choice(([a_settlement(rng)], [], None)), a_number(rng), a_number(rng),
        a_number(rng), a_number(rng), False,
    ),
    "park": lambda rng: (rng.choice((True, None)), rng.choice((0.0, NAN, "text", None, -1)), a_name(rng)),
    "extend": lambda rng: (a_name(rng), rng.choice(([a_number(rng)], None, 7, "text"))),
    "cancels": lambda rng: (a_name(rng), rng.choice((0.0, NAN, "text", None))),
    "progress": lambda rng: (
        a_name(rng), rng.choice(([(a_number(rng), a_number(rng), a_number(rng), some_bytes(rng))], None, [7])),
    ),
    "lose": lambda rng: (rng.choice(("mallory", "", 7, None)),),
    "wait_settled": lambda rng: (a_name(rng), THIS, some_runs(rng), rng.choice((0.0, NAN, "text", None))),
    "wait_idle": lambda rng: (rng.choice((0.0, NAN, "text", None, -1)),),
    "results": lambda rng: (
        a_name(rng), rng.choice((None, (a_number(rng), a_number(rng)), 7, ())), a_number(rng),
    ),
    "status": lambda rng: (a_name(rng),),
    "notes": lambda rng: (THIS, some_runs(rng)),
    "states": lambda rng: (THIS, some_runs(rng)),
    "dead.list": lambda rng: (a_number(rng), a_number(rng), a_number(rng), rng.choice((True, None))),
    "dead.redrive": lambda rng: (THIS, some_runs(rng), a_number(rng)),
    "dead.purge": lambda rng: (THIS, rng.choice(([(0.5, 1.5)], [("a", "b")], 7))),
    "look.peek": lambda rng: (a_number(rng), a_number(rng)),
}  # fmt: skip


async def call(service, verb, arguments):
    method = service
    for part in verb.split("."):
        method = getattr(method, part)
    return await method(*[service._incarnation if given is THIS else given for given in arguments])


async def tell_nonsense(folder, verb, rng, times):
    service = service_at(folder)
    await service.open(10)
    honest = Honest(service)
    refused = 0
    try:
        await honest.go_round()
        for _ in range(times):
            arguments = CALLS[verb](rng)
            try:
                await asyncio.wait_for(call(service, verb, arguments), 10)
            except DaskQueueError:
                refused += 1
            except Exception as error:
                error.add_note(f"{verb}{arguments}")
                raise
            assert not service.failure, f"{verb}{arguments}"
            injected["nonsense from a caller"] += 1
        await service._open_engine().leases.lose(["mallory", ""])
        await honest.go_round()
    finally:
        await service.close()
    return refused


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize("seed", seeds(2))
def test_nonsense_is_refused_and_nobody_else_notices(tmp_path, verb, seed):
    rng = random.Random(seed)
    refused = asyncio.run(tell_nonsense(tmp_path, verb, rng, 80))
    assert refused or verb in ("lose", "status")
    asyncio.run(look_again(tmp_path))


async def look_again(folder):
    """Whatever was told, what was written down is all readable."""
    service = service_at(folder)
    await service.open(10)
    try:
        assert service._engine._files.recovered.damaged_frames == 0
        honest = Honest(service)
        honest.calls = 1000
        await honest.go_round()
    finally:
        await service.close()


def test_a_put_of_nothing_or_of_far_too_much_is_refused(tmp_path):
    """Equal calls without arguments take no bytes: a record batch may speak of thousands of millions of them."""
    enormous = bytearray(encode_calls([(print,)] * 300))
    table = Batch.parse(bytes(enormous))._layout.offsets[0]

    async def put():
        service = service_at(tmp_path)
        await service.open(10)
        try:
            for blob in (encode_items([]), bytes(enormous)):
                with pytest.raises(BatchError, match="messages in one record batch"):
                    await service.put(ALICE, [(0, blob, wire())], 0.0)
                injected["nonsense from a caller"] += 1
        finally:
            await service.close()

    for place in (16, table - 16, table - 8):
        enormous[place : place + 4] = b"\xff" * 4
    enormous[4:8] = crc32(enormous[8:]).to_bytes(4, "little")
    asyncio.run(put())


def test_results_that_do_not_fit_their_messages_are_refused_before_anything_is_settled(tmp_path):
    async def lie():
        service = service_at(tmp_path)
        await service.open(10)
        try:
            await service.put(ALICE, [(0, BATCH, wire())], 0.0)
            number, epoch, _, _ = await service.exchange("mallory", "pool", [], 0, 2, 2, PLENTY, False)
            for blob in (BATCH, encode_results([1])[0], encode_results([1, 2, 3])[0], b"rubbish", "text"):
                with pytest.raises((BatchError, QueueError)):
                    await service.exchange(
                        "mallory", "pool", [(number, epoch, [(0, 2)], blob)], 0, 0, 1, 1, False
                    )
                injected["nonsense from a caller"] += 1
            assert (await service.status())["leased"] == 2
        finally:
            await service.close()

    asyncio.run(lie())
