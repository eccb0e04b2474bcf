"""What the consumers of a process tell Prometheus, all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from daskqueue.engine.histogram import Histogram
from daskqueue.metrics.collector import EXHIBIT, Exhibit, Sample

# Names of tasks that are kept apart in one process; Prometheus pays for each label value for ever.
MAX_TASKS = 20
OTHER = "other"

TASK_SECONDS = (
    0.00001, 0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
)  # fmt: skip


class ConsumerMeter:
    """The numbers of one consumer.

    Args:
        slots: how many tasks it runs at a time.
        held: returns how many messages are in hand and not finished.
        unended: returns how many of them run or are still to run.
        times: where the time of its tasks is kept; those of the process by default.

    Attributes:
        left_behind: returns how many threads were given up with a task that did not end when its time was over.
    """

    def __init__(
        self,
        slots: int,
        held: Callable[[], int],
        unended: Callable[[], int],
        times: TaskTimes | None = None,
    ) -> None:
        self.slots = slots
        self.finished = 0
        self.fetched_at: float | None = None
        self.left_behind: Callable[[], int] = lambda: 0
        self._held = held
        self._unended = unended
        self._times = times or CONSUMERS.times

    @property
    def held(self) -> int:
        """How many messages are in hand and not finished."""
        return self._held()

    @property
    def busy(self) -> int:
        """How many slots have a task."""
        return min(self.slots, self._unended())

    def ended(self, task: str, outcome: str, seconds: float, count: int) -> None:
        """Take note of *count* tasks of one name that took *seconds* each."""
        self.finished += count
        self._times.observe(task, outcome, seconds, count)

    def as_stats(self) -> dict[str, int]:
        """Return the part of a host's ``/stats`` that the consumer knows."""
        return {"slots": self.slots, "busy": self.busy, "held": self.held, "finished": self.finished}


class TaskTimes:
    """How long tasks took, by name and outcome; the first :data:`MAX_TASKS` names, the rest as one."""

    def __init__(self) -> None:
        self._histograms: dict[tuple[str, str], Histogram] = {}
        self._names: set[str] = set()

    def observe(self, task: str, outcome: str, seconds: float, count: int) -> None:
        """Take note of *count* tasks that took *seconds* each."""
        histogram = self._histograms.get((task, outcome))
        if histogram is None:
            histogram = self._histograms.setdefault((self._kept(task), outcome), Histogram(TASK_SECONDS))
        histogram.observe(seconds, count)

    def samples(self) -> Iterator[Sample]:
        """Yield a histogram for each name and outcome."""
        for labels, histogram in list(self._histograms.items()):
            yield Sample("daskqueue_processing_seconds", labels, histogram)

    def _kept(self, task: str) -> str:
        if task not in self._names and len(self._names) >= MAX_TASKS:
            return OTHER
        self._names.add(task)
        return task


class Consumers:
    """All consumers of a process as one source; what their tasks took is remembered when they have gone."""

    place = "consumers"

    def __init__(self, exhibit: Exhibit) -> None:
        self.times = TaskTimes()
        self._exhibit = exhibit
        self._meters: list[ConsumerMeter] = []
        self._fetched_at: float | None = None

    def add(self, meter: ConsumerMeter) -> None:
        """Tell of one more consumer."""
        self._meters.append(meter)
        self._exhibit.add(self)

    def remove(self, meter: ConsumerMeter) -> None:
        """Tell no more of a consumer; one that was not told of is no error."""
        if meter in self._meters:
            self._meters.remove(meter)
        if not self._meters:
            self._exhibit.remove(self)

    def samples(self) -> Iterator[Sample]:
        """Yield all that there is to tell now."""
        meters = list(self._meters)
        busy = sum(meter.busy for meter in meters)
        yield Sample("daskqueue_slots", ("busy",), busy)
        yield Sample("daskqueue_slots", ("idle",), sum(meter.slots for meter in meters) - busy)
        yield Sample("daskqueue_threads_left_behind", (), sum(meter.left_behind() for meter in meters))
        fetched_at = [meter.fetched_at for meter in meters if meter.fetched_at is not None]
        if fetched_at:
            yield Sample("daskqueue_consumer_last_fetch_timestamp_seconds", (), max(fetched_at))
        yield from self.times.samples()


CONSUMERS = Consumers(EXHIBIT)
