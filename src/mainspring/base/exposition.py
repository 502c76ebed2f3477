"""Prometheus's text format for what was counted. Imported only where somebody scrapes, for its import costs 0.1 s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from mainspring.base.counts import BOUNDS_S, LABELS, SEPARATOR, Numbers, merge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

__all__ = ["render"]

_NANO = 1e9


def render(everyone: dict[str, Numbers]) -> tuple[bytes, str]:
    """The numbers of all workers as text, and its content type.

    Args:
        everyone: numbers by worker; counts are added up, states carry the worker as a label unless it is empty.
    """
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Collector(everyone))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collector(Collector):
    """prometheus_client's way to hand over numbers that are kept elsewhere."""

    def __init__(self, everyone: dict[str, Numbers]) -> None:
        self._everyone = everyone
        self._total = Numbers()
        for numbers in everyone.values():
            merge(self._total, numbers)

    def collect(self) -> Iterator[Metric]:
        yield from self._answers()
        yield from self._counters()
        yield from self._gauges()
        yield from self._states()

    def _answers(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "mainspring_requests", "Answers, by how they ended.", labels=[*LABELS, "status", "error"]
        )
        latency = HistogramMetricFamily(
            "mainspring_request_duration_seconds", "From the request to the last byte.", labels=LABELS
        )
        first = HistogramMetricFamily(
            "mainspring_first_token_seconds",
            "From the request to the first byte with content.",
            labels=LABELS,
        )
        tokens = CounterMetricFamily(
            "mainspring_tokens",
            "Tokens, input with cached ones, output with reasoning.",
            labels=[*LABELS, "kind"],
        )
        cost = CounterMetricFamily("mainspring_cost_usd", "Dollars, where the price is known.", labels=LABELS)
        for key, series in self._total.series.items():
            labels = key.split(SEPARATOR)
            for outcome, number in series.outcomes.items():
                requests.add_metric([*labels, *outcome.split(SEPARATOR)], number)
            latency.add_metric(labels, _cumulative(series.latency), series.latency_sum)
            if any(series.first):
                first.add_metric(labels, _cumulative(series.first), series.first_sum)
            tokens.add_metric([*labels, "input"], series.input_tokens)
            tokens.add_metric([*labels, "output"], series.output_tokens)
            cost.add_metric(labels, series.cost_nusd / _NANO)
        yield from (requests, latency, first, tokens, cost)

    def _counters(self) -> Iterator[Metric]:
        for name, counter in sorted(self._total.counters.items()):
            names, rows = _table(counter.values)
            family = CounterMetricFamily(f"mainspring_{name}", counter.help, labels=names)
            for row, number in rows:
                family.add_metric(row, number)
            yield family

    def _gauges(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for worker, numbers in self._everyone.items():
            for name, (text, number) in numbers.gauges.items():
                labels = ["worker"] if worker else []
                family = families.setdefault(
                    name, GaugeMetricFamily(f"mainspring_{name}", text, labels=labels)
                )
                family.add_metric([worker] if worker else [], number)
        yield from families.values()

    def _states(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for worker, numbers in self._everyone.items():
            for name, state in numbers.states.items():
                names, rows = _table(state.values)
                labels = [*names, "worker"] if worker else names
                family = families.setdefault(
                    name, GaugeMetricFamily(f"mainspring_{name}", state.help, labels=labels)
                )
                for row, number in rows:
                    family.add_metric([*row, worker] if worker else row, number)
        yield from families.values()


def _table(values: dict[str, float]) -> tuple[list[str], list[tuple[list[str], float]]]:
    """The names of the labels, and for each number the labels' values in that order."""
    rows = [
        (dict(pair.split("=", 1) for pair in key.split(SEPARATOR) if pair), number)
        for key, number in values.items()
    ]
    names = sorted({name for labels, _ in rows for name in labels})
    return names, [([labels.get(name, "") for name in names], number) for labels, number in rows]


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    total, pairs = 0, []
    for bound, number in zip([*map(str, BOUNDS_S), "+Inf"], buckets, strict=True):
        total += number
        pairs.append((bound, float(total)))
    return pairs
