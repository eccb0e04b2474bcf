"""Facts to bytes and back; bytes once written stay readable."""

from __future__ import annotations

from dataclasses import replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskqueue.core import encode as module
from daskqueue.core import facts
from daskqueue.core.commands import Ack, Release
from daskqueue.core.encode import decode, encode
from daskqueue.core.runs import Runs
from daskqueue.errors import CorruptionError
from daskqueue.message import Run, Terms

from .stage import Stage, run

RUNS: Runs = (Run(1, 3), Run(300, 70000))
CARRIED = facts.Carried(
    70, 2, 9, False, (70, 20, 1, 10, 2, 0, 0, 0, 0, 1, 0, 3), (("raised", 1),),
    ((b"p", ((0, 5),), ((4, 60, 10),)),),
)  # fmt: skip
CHOSEN = Terms(5, 2.5, "group", "a.png", 60.0, 10.0, 1.0, 30.0, ("builtins.OSError",), ("m.Bad",))
GOLDEN: list[tuple[facts.Fact, int, str]] = [
    (facts.Enqueued(7, 1000, b"producer", 3, 2, 1.5), 16,
     "9607cd03e8c40870726f64756365720302cb3ff8000000000000"),
    (facts.Enqueued(7, 1, b"", 3, 2), 16, "960701c4000302c0"),
    (facts.Enqueued(7, 1, b"", 3, 2, None, CHOSEN), 16,
     (
     "970701c4000302c09a05cb4004000000000000a567726f7570a5612e706e67cb404e000000000000cb40"
     "24000000000000cb3ff0000000000000cb403e00000000000091b06275696c74696e732e4f534572726f"
     "7291a56d2e426164"
     )),
    (facts.Leased(5, 2, "carol", "pool", 8, RUNS, 2.5, 4), 17,
     "980502a56361726f6ca4706f6f6c089292010392cd012cce00011170cb400400000000000004"),
    (facts.Acked(5, RUNS), 18, "92059292010392cd012cce00011170"),
    (facts.Acked(5, RUNS, 1.5), 18,
     "93059292010392cd012cce00011170cb3ff8000000000000"),
    (facts.Retried(5, RUNS, 1.5), 19, "93059292010392cd012cce00011170cb3ff8000000000000"),
    (facts.Released(5, RUNS), 20, "92059292010392cd012cce00011170"),
    (facts.Released(5, RUNS, 1.5), 20,
     "93059292010392cd012cce00011170cb3ff8000000000000"),
    (facts.LeaseLost(5, RUNS, "lost"), 21, "93059292010392cd012cce00011170a46c6f7374"),
    (facts.Died(5, RUNS, "raised", True), 22, "94059292010392cd012cce00011170a6726169736564c3"),
    (facts.Died(5, RUNS, "raised", False, 1.5), 22,
     "95059292010392cd012cce00011170a6726169736564c2cb3ff8000000000000"),
    (facts.Cancelled(RUNS), 23, "919292010392cd012cce00011170"),
    (facts.Cancelled(RUNS, 1.5), 23,
     "929292010392cd012cce00011170cb3ff8000000000000"),
    (facts.Purged(RUNS), 24, "919292010392cd012cce00011170"),
    (facts.Purged(RUNS, 1.5), 24,
     "929292010392cd012cce00011170cb3ff8000000000000"),
    (facts.Redriven(RUNS), 25, "919292010392cd012cce00011170"),
    (facts.Discarded(RUNS), 26, "919292010392cd012cce00011170"),
    (facts.Paused(True), 27, "91c3"),
    (facts.Restarted(3, 1.5), 28, "9203cb3ff8000000000000"),
    (facts.Moved(((1, 3, 0, 1, 2),), ((4, 5, 1, 0, 2, 1.5),), ((6, 7, 3, 0, 2, "raised"),)), 29,
     "939195010300010291960405010002cb3ff800000000000091960607030002a6726169736564"),
    (facts.Moved(((1, 3, 0, 1, 2),), (), (), ((1, 3, *CHOSEN),), ((1, b"note"),), ((6, 7, 1.5),)), 29,
     (
     "96919501030001029090919c010305cb4004000000000000a567726f7570a5612e706e67cb404e000000"
     "000000cb4024000000000000cb3ff0000000000000cb403e00000000000091b06275696c74696e732e4f"
     "534572726f7291a56d2e426164919201c4046e6f746591930607cb3ff8000000000000"
     )),
    (replace(CARRIED, kept_keys=(("a.png", 7, 1.5),)), 30,
     (
     "98460209c29c4614010a02000000000100039192a6726169736564019193c40170919200059193043c0a"
     "9193a5612e706e6707cb3ff8000000000000"
     )),
    (facts.Matched(7, b"p", 3), 31,
     "9307c4017003"),
    (facts.Dropped(RUNS, "expired", 1.5), 32,
     "939292010392cd012cce00011170a765787069726564cb3ff8000000000000"),
    (facts.CancelAsked(RUNS), 33,
     "919292010392cd012cce00011170"),
    (facts.Progressed(7, b"note"), 34,
     "9207c4046e6f7465"),
    (CARRIED, 30, ("97460209c29c4614010a02000000000100039192a6726169736564019193"
     "c40170919200059193043c0a")),
]  # fmt: skip
IDS = [f"{type(fact).__name__}-{index}" for index, (fact, _, _) in enumerate(GOLDEN)]


@pytest.mark.parametrize(("fact", "kind", "written"), GOLDEN, ids=IDS)
def test_a_fact_is_written_as_it_always_was(fact: facts.Fact, kind: int, written: str) -> None:
    assert encode(fact) == (kind, bytes.fromhex(written))


@pytest.mark.parametrize(("fact", "kind", "written"), GOLDEN, ids=IDS)
def test_what_was_written_is_read_again(fact: facts.Fact, kind: int, written: str) -> None:
    assert decode(kind, bytes.fromhex(written)) == fact
    assert decode(kind, memoryview(bytes.fromhex(written))) == fact


@pytest.mark.parametrize(("fact", "kind", "written"), GOLDEN, ids=IDS)
def test_a_fact_cut_short_is_no_fact(fact: facts.Fact, kind: int, written: str) -> None:
    whole = bytes.fromhex(written)
    for cut in range(len(whole)):
        with pytest.raises(CorruptionError, match=type(fact).__name__):
            decode(kind, whole[:cut])
    with pytest.raises(CorruptionError):
        decode(kind, whole + b"\x00")


@pytest.mark.parametrize(("fact", "kind", "written"), GOLDEN, ids=IDS)
def test_fields_of_a_later_version_are_ignored(fact: facts.Fact, kind: int, written: str) -> None:
    fields = msgpack.unpackb(bytes.fromhex(written))
    unused = () if kind in (29, 30) else None
    missing = [unused] * (len(module._KINDS[kind][1]) - len(fields))
    assert decode(kind, msgpack.packb([*fields, *missing, "later", 7])) == fact


def test_terms_of_a_later_version_are_read_as_far_as_they_are_known() -> None:
    fields = [7, 1, b"", 3, 2, None, [*CHOSEN, "later"]]
    assert decode(16, msgpack.packb(fields)) == facts.Enqueued(7, 1, b"", 3, 2, None, CHOSEN)
    assert decode(16, msgpack.packb([*fields[:6], [5, None, "g"]])) == facts.Enqueued(
        7, 1, b"", 3, 2, None, Terms(5, group="g")
    )


def test_what_nobody_chose_is_not_written() -> None:
    stage = Stage()
    stage.put(2)
    stage.do(Ack(stage.granted(1).receipt, run(0, 1)))
    stage.do(Release(stage.granted(1).receipt, run(1, 2)))
    lengths = {kind: len(msgpack.unpackb(payload)) for kind, payload in stage.segments[0]}
    assert lengths == {16: 6, 17: 8, 18: 2, 20: 2, 28: 2}


def test_a_field_that_an_earlier_version_did_not_write_has_its_default() -> None:
    assert decode(17, msgpack.packb([5, 2, "carol", "pool", 8, RUNS, 2.5])) == facts.Leased(
        5, 2, "carol", "pool", 8, RUNS, 2.5, 0
    )


def test_a_kind_of_a_later_version_is_none() -> None:
    assert decode(35, b"\x90") is None
    assert decode(255, b"") is None


def test_every_durable_fact_has_a_kind_and_a_golden_line() -> None:
    kinds = [kind for kind in vars(facts).values() if isinstance(kind, type) and issubclass(kind, facts.Fact)]
    durable = {kind for kind in kinds if not kind.volatile} - {facts.Fact}
    assert durable == set(module._WRITTEN) == {type(fact) for fact, _, _ in GOLDEN}
    assert min(module._KINDS) == 16


@given(st.sampled_from(sorted(module._KINDS)), st.binary(max_size=60))
def test_garbage_is_a_corruption_error_or_a_fact_with_fields_of_the_right_kind(
    kind: int, garbage: bytes
) -> None:
    try:
        fact = decode(kind, garbage)
    except CorruptionError:
        return
    assert fact is not None
    assert decode(*encode(fact)) == fact


nested = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**63) | st.floats(allow_nan=False)
    | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=20,
)  # fmt: skip


@given(st.sampled_from(sorted(module._KINDS)), st.lists(nested, max_size=9))
def test_wrong_fields_are_a_corruption_error(kind: int, fields: list[object]) -> None:
    try:
        fact = decode(kind, msgpack.packb(fields))
    except CorruptionError:
        return
    assert fact is not None
    assert decode(*encode(fact)) == fact


def test_facts_of_a_whole_story_come_back(stage: Stage) -> None:
    stage.put(10, retries=1)
    stage.ack(stage.granted(3))
    stage.roll()
    for frames in stage.segments:
        for kind, payload in frames:
            fact = decode(kind, payload)
            assert fact is not None
            assert encode(fact) == (kind, payload)
