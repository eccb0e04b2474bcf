"""From queues and consumers of this process to Prometheus: one collector for all of them.

It is in the global registry of ``prometheus_client`` while anything lives here that has something to tell, so
its metrics are on the ``/metrics`` of a host and of an ordinary Dask worker alike. Importing changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from daskqueue.engine.histogram import INFINITY, Histogram
from daskqueue.metrics.table import METRICS, Metric

_FAMILIES: dict[str, Callable[..., Family]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Sample(NamedTuple):
    """One value of a metric, with the values of its labels in the order of the table."""

    metric: str
    labels: tuple[str, ...]
    value: float | Histogram


class Source(Protocol):
    """Something that has metrics to tell; it is asked on whichever thread renders them.

    Attributes:
        place: two sources with the same place tell of the same thing, and the later one counts.
    """

    @property
    def place(self) -> str: ...

    def samples(self) -> Iterable[Sample]:
        """Yield what there is to tell now."""


class Exhibit(Collector):
    """Renders all sources that were added; it is registered while there are any.

    Args:
        registry: where it is shown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._sources: list[Source] = []
        self._lock = threading.Lock()

    def add(self, source: Source) -> None:
        """Show a source from now on; a second time changes nothing."""
        with self._lock:
            if source in self._sources:
                return
            if not self._sources:
                self._registry.register(self)
            self._sources.append(source)

    def remove(self, source: Source) -> None:
        """Show a source no more; one that is not shown is no error."""
        with self._lock:
            if source not in self._sources:
                return
            self._sources.remove(source)
            if not self._sources:
                self._registry.unregister(self)

    def describe(self) -> Iterator[Family]:
        """Yield all metrics without values."""
        yield from (_family(metric) for metric in METRICS)

    def collect(self) -> Iterator[Family]:
        """Yield the metrics that have values now."""
        latest = {source.place: source for source in list(self._sources)}
        samples: dict[str, list[Sample]] = {metric.name: [] for metric in METRICS}
        for source in latest.values():
            for sample in source.samples():
                samples[sample.metric].append(sample)
        for metric in METRICS:
            if samples[metric.name]:
                family = _family(metric)
                for sample in samples[metric.name]:
                    _add(family, sample)
                yield family


EXHIBIT = Exhibit(REGISTRY)


def _family(metric: Metric) -> Family:
    return _FAMILIES[metric.kind](metric.name, metric.text, labels=metric.labels)


def _add(family: Family, sample: Sample) -> None:
    if isinstance(family, HistogramMetricFamily):
        assert isinstance(sample.value, Histogram)
        buckets = [("+Inf" if bound == INFINITY else str(bound), n) for bound, n in sample.value.cumulative()]
        family.add_metric(sample.labels, buckets, sample.value.sum)
    else:
        family.add_metric(sample.labels, sample.value)  # type: ignore[attr-defined]
