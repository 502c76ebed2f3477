"""What a process has counted, as plain numbers that can be written to a file, read by another process and added up."""

from __future__ import annotations

import msgspec

__all__ = ["BOUNDS_S", "LABELS", "SEPARATOR", "Counter", "Numbers", "Series", "merge"]

#: Upper bounds of the latency buckets, in seconds; the last bucket has none.
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
#: What a series of answers is told apart by.
LABELS = ("dialect", "route", "provider", "model", "stream")
#: Stands between label values where they are one key.
SEPARATOR = "\x1f"


class Series(msgspec.Struct):
    """What is counted for one combination of labels."""

    outcomes: dict[str, int] = {}
    latency: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    latency_sum: float = 0.0
    first: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    first_sum: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nusd: int = 0

    def add(self, other: Series) -> None:
        """Add the numbers of another process."""
        for outcome, number in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number
        self.latency = [a + b for a, b in zip(self.latency, other.latency, strict=True)]
        self.first = [a + b for a, b in zip(self.first, other.first, strict=True)]
        self.latency_sum += other.latency_sum
        self.first_sum += other.first_sum
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cost_nusd += other.cost_nusd


class Counter(msgspec.Struct):
    """An event that is counted; `values` is by labels, each as `name=value`."""

    help: str
    values: dict[str, float] = {}


class Numbers(msgspec.Struct):
    """Everything that one process has counted. Label values are joined with a separator to be JSON keys."""

    series: dict[str, Series] = {}
    counters: dict[str, Counter] = {}
    gauges: dict[str, tuple[str, float]] = {}
    #: States told apart by labels, as events are.
    states: dict[str, Counter] = {}


def merge(into: Numbers, other: Numbers) -> None:
    """Add the counts of another process. Its gauges stay out: a state does not add up."""
    for key, series in other.series.items():
        if key in into.series:
            total = Series()
            total.add(into.series[key])
            total.add(series)
            into.series[key] = total
        else:
            into.series[key] = series
    for name, counter in other.counters.items():
        have = into.counters.get(name)
        values = dict(have.values) if have else {}
        for key, number in counter.values.items():
            values[key] = values.get(key, 0) + number
        into.counters[name] = Counter(counter.help, values)
