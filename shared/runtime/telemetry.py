"""Keeps counters and gauges as plain numbers; OpenTelemetry exports them in Prometheus' format.

Counting costs a dictionary update, about 0.2 us, while an OpenTelemetry counter costs 5 us. One
thread increments a counter, and the exporter reads the counter in another thread. The number of
label sets is limited: beyond MAX_LABEL_SETS, a new label set is counted under `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest

MAX_LABEL_SETS: Final = 1_000
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
Observing = Callable[[CallbackOptions], Iterable[Observation]]


class Metric(Struct, frozen=True):
    """A metric's name, meaning and labels. The name of a counter does not end with `_total`."""

    name: str
    meaning: str
    labels: Labels = ()


class Counter:
    """One number per set of label values; the numbers only increase."""

    __slots__ = ("_other", "values")

    def __init__(self, label_count: int) -> None:
        self.values: dict[Labels, int] = {} if label_count else {(): 0}
        self._other = ("other",) * label_count

    def add(self, amount: int = 1, *labels: str) -> None:
        """Add to the number. Pass the label values in the declared order of the labels."""
        values = self.values
        if labels not in values and len(values) >= MAX_LABEL_SETS:
            labels = self._other
        values[labels] = values.get(labels, 0) + amount

    def get(self, *labels: str) -> int:
        """Return the present number."""
        return self.values.get(labels, 0)


class Gauge:
    """One number per set of label values; the numbers can rise and fall."""

    __slots__ = ("_other", "values")

    def __init__(self, label_count: int) -> None:
        self.values: dict[Labels, float] = {}
        self._other = ("other",) * label_count

    def set(self, value: float, *labels: str) -> None:
        """Set the number. Pass the label values in the declared order of the labels."""
        values = self.values
        if labels not in values and len(values) >= MAX_LABEL_SETS:
            labels = self._other
        values[labels] = value

    def get(self, *labels: str) -> float:
        """Return the present number."""
        return self.values.get(labels, 0)


class Counters:
    """The counters and gauges of one process, and their text for Prometheus."""

    def __init__(self, service: str, instance: str = "") -> None:
        resource = Resource.create(
            {"service.name": f"sluice-{service}", "service.instance.id": instance}
        )
        reader = PrometheusMetricReader(scope_info_enabled=False)
        # The reader registers itself only in the library's global registry. The text is generated
        # from a separate registry, so that two Counters in one process (as in tests) stay separate.
        self._registry = CollectorRegistry()
        self._registry.register(reader._collector)
        self._provider = MeterProvider(metric_readers=[reader], resource=resource)
        self._meter = self._provider.get_meter("sluice")
        self._declared: dict[str, str] = {}

    def counter(self, metric: Metric) -> Counter:
        """Declare a counter; the export adds `_total` to its name."""
        counter = Counter(len(metric.labels))
        name = metric.name
        self._declared[f"{name}_total"] = f"{metric.meaning}\n# TYPE {name}_total counter"
        callback = _observe(counter.values, metric.labels)
        self._meter.create_observable_counter(name, [callback], description=metric.meaning)
        return counter

    def gauge(self, metric: Metric) -> Gauge:
        """Declare a gauge whose value the program sets."""
        gauge = Gauge(len(metric.labels))
        self._declare_gauge(metric, _observe(gauge.values, metric.labels))
        return gauge

    def watch(self, metric: Metric, read: Callable[[], float]) -> None:
        """Declare a gauge whose value is read at export, in the exporter's thread."""

        def callback(_options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(read())]

        self._declare_gauge(metric, callback)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' format. A metric without a value gets only a header."""
        text: bytes = generate_latest(self._registry)
        unseen = [
            f"# HELP {name} {rest}\n"
            for name, rest in self._declared.items()
            if f"# TYPE {name} ".encode() not in text
        ]
        return text + "".join(unseen).encode()

    def _declare_gauge(self, metric: Metric, callback: Observing) -> None:
        self._declared[metric.name] = f"{metric.meaning}\n# TYPE {metric.name} gauge"
        self._meter.create_observable_gauge(metric.name, [callback], description=metric.meaning)

    def close(self) -> None:
        self._provider.shutdown()


def _observe(values: dict[Labels, int] | dict[Labels, float], names: Labels) -> Observing:
    def callback(_options: CallbackOptions) -> Iterable[Observation]:
        # The counting thread may add a label set meanwhile; list() of a dict is atomic.
        return [
            Observation(value, dict(zip(names, labels, strict=False)))
            for labels, value in list(values.items())
        ]

    return callback
