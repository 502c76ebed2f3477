"""Numbers about ourselves for Prometheus.

`Meter` counts in plain Python objects, since it is on the path of every answer; text for Prometheus is made when
somebody asks. Several worker processes on one port each leave their numbers in a shared folder once a second, and
whoever is asked adds them up, so that a counter never jumps back because another worker answered the scrape.

What an answer, a route or a provider is, this module does not know: they are names on numbers.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec

from mainspring.base.counts import BOUNDS_S, SEPARATOR, Counter, Numbers, Series, merge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["MOST_SERIES", "Meter", "join_workers"]

#: Series that one process keeps. More than that means that a label holds what callers make up.
MOST_SERIES = 2000
_OTHER = "other"

#: The folder shared by the workers of one server, this worker's number, and its file's name. Set once, before a Meter.
_workers: tuple[Path, int, str] | None = None


def join_workers(folder: Path, worker: int) -> None:
    """Make this process one of several workers: meters made from now on leave and read numbers in `folder`."""
    global _workers  # noqa: PLW0603 - which worker a process is, is a fact about the process
    _workers = (folder, worker, f"{worker}-{os.getpid()}")


class Meter:
    """Counts answers, events and states, and tells them in Prometheus's text format.

    Safe from any thread in the way that matters here: a number may be a moment old, never torn.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, str | None, str | None, str | None, bool], Series] = {}
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._states: dict[str, tuple[str, Callable[[], list[tuple[dict[str, str], float]]]]] = {}
        self._workers = _workers
        if self._workers is not None:
            threading.Thread(target=self._leave_regularly, name="metrics", daemon=True).start()

    def answer(
        self,
        *,
        dialect: str,
        route: str | None,
        provider: str | None,
        model: str | None,
        status: int,
        error: str | None,
        stream: bool,
        latency_s: float,
        first_token_s: float | None,
        input_tokens: int,
        output_tokens: int,
        cost_nusd: int | None,
    ) -> None:
        """Count one answer. Costs about a microsecond.

        Args:
            dialect: which protocol the caller spoke.
            route: the configured route, `None` for a model named directly.
            provider: who answered, `None` if nobody did.
            model: the model that answered.
            status: the HTTP status that the caller got.
            error: the stable code of the error, if it ended in one.
            stream: whether it was streamed.
            latency_s: seconds from the request to the last byte.
            first_token_s: seconds from the request to the first byte with content.
            input_tokens: all tokens that went in, cached ones too.
            output_tokens: all tokens that came out, reasoning too.
            cost_nusd: nano-dollars; `None` (price unknown) counts as nothing.
        """
        key = (dialect, route, provider, model, stream)
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MOST_SERIES:
                key = (dialect, _OTHER, _OTHER, _OTHER, stream)
            series = self._series.setdefault(key, Series())
        outcome = f"{status}{SEPARATOR}{error or ''}"
        series.outcomes[outcome] = series.outcomes.get(outcome, 0) + 1
        series.latency[bisect_left(BOUNDS_S, latency_s)] += 1
        series.latency_sum += latency_s
        if first_token_s is not None:
            series.first[bisect_left(BOUNDS_S, first_token_s)] += 1
            series.first_sum += first_token_s
        series.input_tokens += input_tokens
        series.output_tokens += output_tokens
        if cost_nusd is not None:
            series.cost_nusd += cost_nusd

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:  # noqa: A002 - Prometheus calls it help
        """Register a state that is read when somebody asks, such as a queue's depth.

        Args:
            name: without the prefix `mainspring_`.
            help: one line on what it is, with the unit.
            read: returns the number now.
        """
        self._gauges[name] = (help, read)

    def states(
        self,
        name: str,
        help: str,  # noqa: A002 - Prometheus calls it help
        read: Callable[[], list[tuple[dict[str, str], float]]],
    ) -> None:
        """Register a state that several things have, each told apart by labels.

        Args:
            name: without the prefix `mainspring_`.
            help: one line on what it is, with the unit.
            read: returns the labels and the number of each thing now; label values must come from a small set.
        """
        self._states[name] = (help, read)

    def count(self, name: str, help: str, amount: float = 1, **labels: str) -> None:  # noqa: A002 - Prometheus calls it help
        """Count an event.

        Args:
            name: without the prefix `mainspring_` and the suffix `_total`.
            help: one line on what it is.
            amount: how much to add.
            labels: names and values; the values must come from a small set.
        """
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters.setdefault(name, Counter(help))
        key = _key(labels)
        counter.values[key] = counter.values.get(key, 0) + amount

    def render(self) -> tuple[bytes, str]:
        """The numbers of all workers as Prometheus text, and its content type."""
        from mainspring.base.exposition import render  # noqa: PLC0415 - loads prometheus_client, 0.1 s

        return render(self._everyone())

    def close(self) -> None:
        """Leave the last numbers for the other workers."""
        self._leave()

    def _numbers(self) -> Numbers:
        return Numbers(
            series={
                SEPARATOR.join(
                    [key[0], key[1] or "", key[2] or "", key[3] or "", str(key[4]).lower()]
                ): series
                for key, series in list(self._series.items())
            },
            counters=dict(self._counters),
            gauges={name: (text, float(read())) for name, (text, read) in self._gauges.items()},
            states={
                name: Counter(text, {_key(labels): number for labels, number in read()})
                for name, (text, read) in self._states.items()
            },
        )

    def _everyone(self) -> dict[str, Numbers]:
        """Numbers by worker; the worker is empty where there is only one."""
        if self._workers is None:
            return {"": self._numbers()}
        folder, worker, process = self._workers
        everyone = {f"{worker}": self._numbers()}
        others = [file for file in folder.glob("*.metrics") if file.stem != process]
        for file in sorted(others, key=_modified, reverse=True):
            try:
                numbers = msgspec.msgpack.decode(file.read_bytes(), type=Numbers)
            except (OSError, msgspec.DecodeError):
                continue  # a worker that is just starting or has been cleaned away
            other = file.stem.split("-", 1)[0]
            if (
                other in everyone
            ):  # an earlier process in the same place: its counts stay, its states are gone
                merge(everyone[other], numbers)
            else:
                everyone[other] = numbers
        return everyone

    def _leave_regularly(self) -> None:
        pause = threading.Event()
        while not pause.wait(1.0):
            self._leave()

    def _leave(self) -> None:
        if self._workers is None:
            return
        folder, _, process = self._workers
        part = folder / f"{process}.part"
        try:
            part.write_bytes(msgspec.msgpack.encode(self._numbers()))
            part.replace(folder / f"{process}.metrics")
        except (
            OSError,
            RuntimeError,
        ):  # a disk that is full, a dictionary that grew meanwhile: the next second
            return


def _key(labels: dict[str, str]) -> str:
    return SEPARATOR.join(f"{label}={value}" for label, value in sorted(labels.items()))


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
