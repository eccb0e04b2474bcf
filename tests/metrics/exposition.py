"""What a registry shows, as text and as samples; and a queue that has something of everything to show."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from daskqueue.metrics.collector import Exhibit
from daskqueue.metrics.consumers import ConsumerMeter, Consumers
from daskqueue.metrics.queues import QueueSource

SUFFIXES = ("_bucket", "_sum", "_count")


class Shown:
    """An exhibit in a registry of its own."""

    def __init__(self):
        self.registry = CollectorRegistry(auto_describe=True)
        self.exhibit = Exhibit(self.registry)
        self.consumers = Consumers(self.exhibit)

    @property
    def text(self):
        return generate_latest(self.registry).decode()

    @property
    def samples(self):
        return samples_of(self.text)

    def values(self, name):
        """Return the values of one metric by their labels, the values of these in order of their names."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for sample in self.samples
            if sample.name == name
        }

    def queue(self, bench, label="orders-0", durability="durable", consumers=0):
        """Show the queue of a bench."""
        source = QueueSource(
            label,
            durability,
            bench.engine._meter,
            lambda: bench.engine.reading() if bench.engine is not None else None,
            lambda: consumers,
        )
        self.exhibit.add(source)
        return source

    def consumer(self, slots=1, held=0):
        """Show a consumer; its tasks are timed with all others of this exhibit."""
        meter = ConsumerMeter(slots, lambda: held, lambda: held, self.consumers.times)
        self.consumers.add(meter)
        return meter


def samples_of(text):
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def live_through_everything(bench):
    """Let a queue meet all that is counted: with a bound of 8 messages, it must be empty before."""
    bench.put("done", "again", "dead", "given back", "cancelled", retries=1)
    bench.put("later", delay=1000.0)
    bench.engine._meter.reject("full")
    hand = bench.lease(want=4)
    bench.ack(hand, [0])
    bench.nack(hand, [1])
    bench.nack(hand, [2], final=True)
    bench.release(hand, [3])
    bench.cancel(4)
    bench.lease()
    bench.let_it_work()
