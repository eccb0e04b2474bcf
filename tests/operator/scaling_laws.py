"""Laws of the decision how many consumers there should be; each takes the module, to try faulty copies, too."""

from __future__ import annotations

import itertools
import math
from typing import Any

from hypothesis import strategies as st

COUNTS = st.one_of(st.just(0), st.integers(0, 20), st.integers(0, 200), st.integers(0, 100_000))
RATES = st.one_of(st.just(0.0), st.floats(0, 5), st.floats(0, 10_000))
MEANS = st.one_of(st.none(), st.floats(0, 0.01), st.floats(0.01, 5), st.floats(0.01, 120))
MISSING = st.one_of(st.just(()), st.just(()), st.just(()), st.just(("q-shard-1",)))


@st.composite
def limits(draw: st.DrawFn) -> dict[str, Any]:
    lowest = draw(st.one_of(st.just(0), st.integers(0, 6)))
    return {
        "min_consumers": lowest,
        "max_consumers": draw(st.integers(max(1, lowest), 60)),
        "slots": draw(st.integers(1, 8)),
        "backlog_per_consumer": draw(st.one_of(st.integers(1, 50), st.integers(1, 5000))),
        "wait_seconds": draw(st.one_of(st.integers(1, 10), st.integers(1, 120))),
        "idle_seconds": draw(st.one_of(st.just(0), st.integers(0, 90))),
    }


@st.composite
def looks(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "ready": draw(COUNTS),
        "leased": draw(COUNTS),
        "busy": draw(st.integers(0, 40)),
        "arrivals_per_second": draw(RATES),
        "mean_seconds": draw(MEANS),
        "moved": draw(st.booleans()),
        "missing": draw(MISSING),
    }


HISTORIES = st.lists(st.tuples(looks(), st.sampled_from([0.0, 1.0, 1.0, 2.0, 10.0, 70.0])), max_size=12)
IDLE = {"ready": 0, "leased": 0, "busy": 0, "arrivals_per_second": 0.5, "mean_seconds": 0.5, "moved": False}


class Line:
    """Decisions one after the other, as the operator takes them."""

    def __init__(self, module: Any, limits: dict[str, Any], replicas: int = 0) -> None:
        self.module = module
        self.limits = module.Limits(**limits)
        self.memory = module.Memory()
        self.replicas = replicas
        self.now = 1000.0
        self.told: list[tuple[float, int]] = [(self.now, replicas)]

    def look(self, seen: dict[str, Any], after: float = 1.0) -> Any:
        self.now += after
        decision = self.peek(seen)
        self.memory, self.replicas = decision.memory, decision.desired
        self.told.append((self.now, decision.desired))
        return decision

    def peek(self, seen: dict[str, Any]) -> Any:
        inputs = self.module.Inputs(**seen, replicas=self.replicas)
        return self.module.decide(inputs, self.memory, self.limits, self.now)

    def live(self, history: list[tuple[dict[str, Any], float]]) -> None:
        for seen, after in history:
            self.look(seen, after)

    def clamped(self, number: int) -> int:
        return min(max(number, self.limits.min_consumers), self.limits.max_consumers)


def stays_within_the_limits(line: Line, history: Any, seen: Any) -> None:
    for each, after in [*history, (seen, 1.0)]:
        decision = line.look(each, after)
        assert line.limits.min_consumers <= decision.desired <= line.limits.max_consumers
        assert decision.limited_by in line.module.LimitedBy


def more_backlog_never_means_fewer(line: Line, history: Any, seen: Any) -> None:
    line.live(history)
    line.now += 1
    numbers = [
        line.peek(seen | {"ready": seen["ready"] + more}).desired for more in (0, 1, 10, 1000, 100_000)
    ]
    assert numbers == sorted(numbers)


def nothing_known_holds_the_number(line: Line, history: Any, seen: Any) -> None:
    line.live(history)
    before, held = line.replicas, line.clamped(line.replicas)
    nothing = IDLE | {"arrivals_per_second": 0.0, "mean_seconds": None, "missing": ("q-shard-0",)}
    for _ in range(10):
        decision = line.look(nothing, 60.0)
        assert decision.desired == held
        assert held > before or (decision.limited_by == "MissingMetrics" and "q-shard-0" in decision.reason)
        before = held
    assert line.peek(seen | {"missing": ("q-shard-0",)}).desired >= held


def what_is_missing_is_no_rest(line: Line, history: Any, seen: Any) -> None:
    """When the metrics come back, the time without them was no idle time."""
    line.live([*history, (IDLE | {"ready": 1}, 1.0), (IDLE | {"missing": ("q-shard-0",)}, 1000.0)])
    held = line.replicas
    if line.limits.idle_seconds > 1:
        assert line.look(IDLE | {"missing": ()}, 1.0).desired >= min(held, 1)


def idleness_ends_at_the_least(line: Line, history: Any, seen: Any) -> None:
    line.live(history)
    line.look(IDLE | {"ready": 1})
    before = line.replicas
    waited = 0.0
    while waited + 5 < line.limits.idle_seconds:
        waited += 5
        assert line.look(IDLE, 5.0).desired >= min(before, 1)
    line.look(IDLE, 6.0)
    assert line.look(IDLE, 1.0).desired == line.limits.min_consumers
    assert line.look(IDLE, 1.0).desired == line.limits.min_consumers


def a_message_is_never_left_alone(line: Line, history: Any, seen: Any) -> None:
    line.live(history)
    for waits in ({"ready": 1}, {"leased": 1}):
        line.now += 1
        nothing_else = {"arrivals_per_second": 0.0, "mean_seconds": None, "missing": ()}
        assert line.peek(IDLE | nothing_else | waits).desired >= 1
    assert line.peek(seen | {"ready": 1, "missing": ("q-shard-0",)}).desired >= 1


def the_same_load_gives_the_same_number(line: Line, history: Any, seen: Any) -> None:
    line.live(history)
    start = len(line.told)
    for _ in range(60):
        line.look(seen, 4.0)
    told = [number for _, number in line.told[start:]]
    assert len(set(told[-15:])) == 1
    turns = [b - a for a, b in itertools.pairwise(told) if a != b]
    assert all(turn > 0 for turn in turns) or all(turn < 0 for turn in turns)


def a_load_that_trembles_moves_nothing(line: Line, history: Any, seen: Any) -> None:
    """A load that goes up and down by a twentieth is the same load."""
    line.live(history)
    load = IDLE | {"ready": 10, "moved": True, "mean_seconds": 1.0, "missing": ()}
    rates = [seen["arrivals_per_second"] * factor for factor in (1.0, 0.95)]
    for turn in range(90):
        line.look(load | {"arrivals_per_second": rates[turn // 20 % 2]}, 4.0)
    assert len({number for _, number in line.told[-30:]}) == 1


def steps_up_are_bounded(line: Line, history: Any, seen: Any) -> None:
    for each, after in [*history, *[(seen, 1.0)] * 4]:
        line.look(each, after)
        at, number = line.told[-1]
        recent = [n for (_, n), (end, _) in itertools.pairwise(line.told) if end > at - 5]
        assert number <= max(2 * min(recent) + 5, line.limits.min_consumers, line.told[-2][1])


def what_was_needed_a_minute_ago_is_kept(line: Line, history: Any, seen: Any) -> None:
    """A load that goes and comes back within a minute finds its consumers."""
    line.live(history)
    for _ in range(10):
        line.look(seen | {"ready": 50_000, "missing": ()}, 5.0)
    needed = line.clamped(math.ceil(50_000 / line.limits.backlog_per_consumer))
    assert line.replicas >= needed
    for _ in range(29):
        assert line.look(IDLE | {"ready": 1, "moved": True, "mean_seconds": 0.0}, 2.0).desired >= needed


def steps_down_are_bounded(line: Line, history: Any, seen: Any) -> None:
    line.live(history)
    for _ in range(10):
        line.look(seen | {"ready": 100_000, "missing": ()}, 5.0)
    for _ in range(50):
        line.look(IDLE | {"ready": 1, "mean_seconds": 0.0, "missing": ()}, 4.0)
        at, number = line.told[-1]
        recent = [n for (_, n), (end, _) in itertools.pairwise(line.told) if end > at - 15]
        assert number >= min(math.ceil(max(recent) / 2), line.told[-2][1])
    assert line.replicas == line.clamped(1)


def busy_slots_keep_their_consumers(line: Line, history: Any, seen: Any) -> None:
    line.live(history)
    before = line.replicas
    needed = min(before, math.ceil(seen["busy"] / line.limits.slots), line.limits.max_consumers)
    for _ in range(3):
        assert line.look(seen, 100.0).desired >= needed


def steady_arrivals_find_enough_slots(line: Line, history: Any, seen: Any) -> None:
    line.live(history)
    slots = seen["arrivals_per_second"] % 100
    most = line.limits.max_consumers * line.limits.slots
    for _ in range(30):
        line.look(
            IDLE | {"arrivals_per_second": slots / 3, "mean_seconds": 3.0, "moved": True, "leased": 1}, 5.0
        )
    assert line.replicas * line.limits.slots >= min(slots, most) - 1e-6


def a_backlog_is_done_in_time(line: Line, history: Any, seen: Any) -> None:
    line.live(history)
    for _ in range(30):
        line.look(seen | {"missing": ()}, 5.0)
    backlog, mean = seen["ready"] + seen["leased"], seen["mean_seconds"] or 0.0
    if line.replicas < line.limits.max_consumers and line.replicas * line.limits.slots < backlog:
        assert backlog * mean / (line.replicas * line.limits.slots) <= line.limits.wait_seconds + 1e-6
        assert backlog / line.replicas <= line.limits.backlog_per_consumer


def no_more_consumers_than_the_load_asks_for(line: Line, history: Any, seen: Any) -> None:
    line.live(history)
    for _ in range(30):
        line.look(seen | {"missing": ()}, 15.0)
    backlog, mean, slots = seen["ready"] + seen["leased"], seen["mean_seconds"] or 0.0, line.limits.slots
    most = max(
        backlog / line.limits.backlog_per_consumer,
        min(backlog, backlog * mean / line.limits.wait_seconds) / slots,
        seen["arrivals_per_second"] * mean / 0.8 / slots * 1.1,
        seen["busy"] / slots,
    )
    assert line.replicas <= line.clamped(max(1, math.ceil(most)))


def a_clock_that_is_set_back_stops_nothing(line: Line, history: Any, seen: Any) -> None:
    line.live(history)
    line.now -= 1_000_000
    a_message_is_never_left_alone(line, [], seen)
    line.look(IDLE)
    for _ in range(3):
        line.look(IDLE, line.limits.idle_seconds + 1)
    assert line.replicas == line.limits.min_consumers


LAWS = [law for law in list(globals().values()) if getattr(law, "__annotations__", {}).get("line") == "Line"]
