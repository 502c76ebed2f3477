"""The geometry of the console's charts: numbers in, paths and labels out. Pure functions, no markup.

A chart is drawn twice stretched: its shapes in a box of 1000 by 100 units that fills whatever width there is
(strokes do not scale), its labels at percentages of the real width, so that text has one size on every screen.
The template `_charts.html` turns a `Chart` into SVG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

WIDTH, HEIGHT = 1000, 100
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_HOUR, _DAY = 3600, 86_400
#: Seconds that may lie between two labels of time; and how many labels fit the width of a phone.
_GAPS = (900, _HOUR, 6 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY)
_MOST_LABELS = 4.5
#: Below it a value is nought to the eye, and its logarithm leaves the range of floats.
_SMALLEST = 1e-12
#: The share of its slot that a bar fills.
_BAR = 0.74


class Series(msgspec.Struct, frozen=True):
    """One line or one layer of bars; `colour` is a class of the style sheet. None is a gap."""

    name: str
    colour: str
    values: Sequence[float | None]


class Tick(msgspec.Struct, frozen=True):
    """A label at a percentage of the width or height."""

    at: float
    label: str


#: The lines of a chart that shows nothing: what they would stand for depends on values that are not there.
_NO_SCALE = [Tick(100.0, ""), Tick(0.0, "")]


class Shape(msgspec.Struct, frozen=True):
    """An SVG path in the units of the plot."""

    name: str
    colour: str
    path: str


class Chart(msgspec.Struct, frozen=True):
    """Everything that a chart shows.

    `columns` are those of the page's data table that the pointer reads out. Bars are thick upright strokes, whose
    `thickness` is in units of the plot and so stretches with it; that of lines is in pixels and does not.
    """

    title: str
    summary: str
    kind: str
    thickness: float
    shapes: list[Shape]
    y: list[Tick]
    x: list[Tick]
    columns: list[int]
    empty: bool


def bars(
    title: str,
    times_us: Sequence[int],
    layers: Sequence[Series],
    *,
    label: Callable[[float], str],
    columns: Sequence[int],
    whole: bool = False,
) -> Chart:
    """Stacked bars over time.

    Args:
        title: the heading, which also names the picture.
        times_us: where each bucket begins.
        layers: from the bottom up; each as long as `times_us`.
        label: how a value is written.
        columns: columns of the data table that belong to this chart.
        whole: the values are counts, so that the axis has whole numbers only.
    """
    totals = [math.fsum(values) for values in zip(*(_filled(layer.values) for layer in layers), strict=True)]
    top, step = axis(max(totals, default=0), whole=whole)
    slot = WIDTH / max(1, len(times_us))
    floor = [0.0] * len(times_us)
    shapes = []
    for layer in layers:
        parts = []
        for i, value in enumerate(_filled(layer.values)):
            if value <= 0:
                continue
            height = value / top * HEIGHT
            y = HEIGHT - floor[i] - height
            parts.append(f"M{_n((i + 0.5) * slot)} {_n(y)}v{_n(height)}")
            floor[i] += height
        shapes.append(Shape(layer.name, layer.colour, "".join(parts)))
    summary = _summary(layers, label, total=True)
    return Chart(
        title=title,
        summary=summary,
        kind="bars",
        thickness=round(slot * _BAR, 1),
        shapes=shapes,
        y=y_ticks(top, step, label) if any(totals) else _NO_SCALE,
        x=x_ticks(times_us),
        columns=list(columns),
        empty=not any(totals),
    )


def lines(
    title: str,
    times_us: Sequence[int],
    series: Sequence[Series],
    *,
    label: Callable[[float], str],
    columns: Sequence[int],
) -> Chart:
    """Lines over time, broken where a value is missing. Arguments as for `bars`."""
    known = [value for one in series for value in one.values if value is not None]
    top, step = axis(max(known, default=0))
    slot = WIDTH / max(1, len(times_us))
    shapes = [Shape(one.name, one.colour, _line(one.values, slot, top)) for one in series]
    summary = _summary(series, label, total=False)
    return Chart(
        title=title,
        summary=summary,
        kind="lines",
        thickness=1.8,
        shapes=shapes,
        y=y_ticks(top, step, label) if known else _NO_SCALE,
        x=x_ticks(times_us),
        columns=list(columns),
        empty=not known,
    )


def axis(largest: float, *, whole: bool = False) -> tuple[float, float]:
    """The top of an axis from nought, and its step: at most five round steps that hold the largest value."""
    if largest < _SMALLEST:
        return (4.0, 1.0) if whole else (1.0, 0.25)
    rough = largest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in _STEPS if power * nice >= rough * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    return max(1, math.ceil(largest / step - 1e-9)) * step, step


def y_ticks(top: float, step: float, label: Callable[[float], str]) -> list[Tick]:
    """The labels of the vertical axis, as percentages from the top of the plot."""
    steps = round(top / step)
    return [Tick(round(100 - 100 * i / steps, 2), label(i * step)) for i in range(steps + 1)]


def x_ticks(times_us: Sequence[int]) -> list[Tick]:
    """About four labels at round times: minutes within hours, hours within a day, else days. Times are UTC."""
    if len(times_us) < 2:  # noqa: PLR2004 - without a second bucket there is no step
        return []
    step = (times_us[1] - times_us[0]) // 1_000_000
    span = step * len(times_us)
    every = max(step, next((gap for gap in _GAPS if span / gap <= _MOST_LABELS), 30 * _DAY))
    ticks = []
    for i, us in enumerate(times_us):
        if us // 1_000_000 % every == 0:
            when = datetime.fromtimestamp(us / 1_000_000, UTC)
            text = f"{when:%H:%M}" if every < _DAY else f"{when.day} {when:%b}"
            ticks.append(Tick(round(100 * i / len(times_us), 2), text))
    return [tick for tick in ticks if tick.at < 94]  # noqa: PLR2004 - a label there would hang over the edge


def _line(values: Sequence[float | None], slot: float, top: float) -> str:
    """A path through the middles of the buckets; a value with gaps on both sides becomes a short dash."""
    parts: list[str] = []
    drawn = False
    for i, value in enumerate(values):
        if value is None:
            drawn = False
            continue
        x, y = (i + 0.5) * slot, HEIGHT - value / top * HEIGHT
        lonely = not drawn and (i + 1 == len(values) or values[i + 1] is None)
        if lonely:
            parts.append(f"M{_n(x - slot / 4)} {_n(y)}h{_n(slot / 2)}")
        else:
            parts.append(f"{'L' if drawn else 'M'}{_n(x)} {_n(y)}")
        drawn = True
    return "".join(parts)


def _summary(series: Sequence[Series], label: Callable[[float], str], *, total: bool) -> str:
    """What the picture says, for those who do not see it."""
    parts = []
    for one in series:
        known = [value for value in one.values if value is not None]
        if not known:
            parts.append(f"{one.name}: none")
        elif total:
            parts.append(
                f"{one.name}: {label(math.fsum(known))} in all, at most {label(max(known))} at a time"
            )
        else:
            parts.append(f"{one.name}: {label(min(known))} to {label(max(known))}, last {label(known[-1])}")
    return "; ".join(parts) + "."


def _filled(values: Sequence[float | None]) -> list[float]:
    return [value or 0.0 for value in values]


def _n(value: float) -> str:
    """A coordinate in as few characters as it needs."""
    return f"{value:.1f}".removesuffix(".0")


class Span(msgspec.Struct, frozen=True):
    """One bar of a waterfall: where it begins and how wide it is, in percent, cut at the first byte."""

    name: str
    outcome: str
    start: float
    waited: float
    streamed: float
    label: str
    detail: str


def span(
    name: str,
    outcome: str,
    window: tuple[int, int],
    times: tuple[int, int | None, int],
    *,
    label: str,
    detail: str,
) -> Span:
    """A bar of a waterfall.

    Args:
        name: what is timed.
        outcome: class of the style sheet: `ok`, `bad` or `all`.
        window: begin and end of the whole picture, microseconds.
        times: begin, first byte if there was one, and end, microseconds.
        label: the duration as text.
        detail: the bar in words.
    """
    begin, first, end = times
    whole = max(1, window[1] - window[0])
    start = _share(begin - window[0], whole)
    split = end if first is None else min(max(first, begin), end)
    waited = _share(split - begin, whole)
    streamed = _share(end - split, whole)
    if waited + streamed < 0.4:  # noqa: PLR2004 - the narrowest bar that can be seen
        waited = 0.4
    return Span(name, outcome, min(start, 99.6), waited, streamed, label, detail)


def _share(part: int, whole: int) -> float:
    return round(100 * min(max(0, part), whole) / whole, 2)
