"""The overview: how much, how fast, how dear, and who; for one of four ranges of time, against the one before."""

from __future__ import annotations

import asyncio
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Literal, cast

import msgspec
from fastapi import APIRouter, Query, Request

from mainspring.base.clock import now_us
from mainspring.ledger.types import UsageRow
from mainspring.web.console import formatting
from mainspring.web.console.charts import Chart, Series, bars, lines
from mainspring.web.console.playground import first_choice
from mainspring.web.console.rendering import page
from mainspring.web.console.sessions import CurrentVisitor  # noqa: TC001 - FastAPI reads annotations
from mainspring.web.openai.models import names_for

if TYPE_CHECKING:
    from starlette.responses import Response

    from mainspring.ledger import Ledger

router = APIRouter()

#: Name in the address, words, seconds in a bucket, buckets. Whole hours read the coarse rollups.
RANGES = {
    "1h": ("Last hour", 60, 60),
    "24h": ("Last 24 hours", 3600, 24),
    "7d": ("Last 7 days", 21_600, 28),
    "30d": ("Last 30 days", 86_400, 30),
}
_MODELS_SHOWN = 4
_TOP = 5
#: Users are many, and summed by whole UTC days: the busiest are shown for this long at most.
_USERS_US = 86_400_000_000
Dimension = Literal["model", "route", "user", "feature", "tenant"]


class Top(msgspec.Struct, frozen=True):
    """One table of the busiest; `field` is the filter of the ledger that a row leads to."""

    title: str
    field: str
    rows: list[UsageRow]
    note: str = ""


@router.get("/")
async def show(
    request: Request, visitor: CurrentVisitor, chosen: Annotated[str, Query(alias="range")] = "24h"
) -> Response:
    """The overview page."""
    chosen = chosen if chosen in RANGES else "24h"
    _, step, buckets = RANGES[chosen]
    now = now_us()
    since = (now // 1_000_000 // step - buckets + 1) * step * 1_000_000
    figures = await _gather(request.app.state.runtime.ledger, visitor.scope, since, now, step)
    times = [since + i * step * 1_000_000 for i in range(buckets)]
    table = Table(times, figures)
    return page(
        request,
        "overview.html",
        visitor,
        ranges={name: words for name, (words, _, _) in RANGES.items()},
        chosen=chosen,
        total=figures.total,
        before=figures.before,
        charts=table.charts(),
        head=table.head,
        rows=table.rows(),
        tops=figures.tops,
        model=first_choice(names_for(request.app.state.runtime, visitor.principal)) or "default",
        origin=str(request.base_url.replace(path="")).rstrip("/"),
    )


class Figures(msgspec.Struct):
    """What the ledger says about one range."""

    total: UsageRow
    before: UsageRow
    series: list[UsageRow]
    by_model: dict[str, list[UsageRow]]
    tops: list[Top]


async def _gather(ledger: Ledger, tenant: str | None, since: int, until: int, step: int) -> Figures:
    """All queries of the page, side by side. `until` is now; the range before is as long as this one so far."""
    dimensions: list[tuple[str, Dimension]] = [
        ("Models", "model"),
        ("Routes", "route"),
        ("Users", "user"),
        ("Features", "feature"),
    ]
    if tenant is None:
        dimensions.append(("Tenants", "tenant"))
    total, before, series, *groups = await asyncio.gather(
        ledger.usage(by=None, since_us=since, until_us=until, tenant=tenant, first_tokens=True),
        ledger.usage(by=None, since_us=2 * since - until, until_us=since, tenant=tenant),
        ledger.series(since_us=since, until_us=until, step_seconds=step, tenant=tenant),
        *(
            ledger.usage(
                by=name,
                since_us=max(since, until - _USERS_US) if name == "user" else since,
                until_us=until,
                tenant=tenant,
                percentiles=False,
            )
            for _, name in dimensions
        ),
    )
    tops = []
    for (title, name), rows in zip(dimensions, groups, strict=True):
        named = [row for row in rows if row.group and row.requests]
        note = "since yesterday" if name == "user" else ""
        tops.append(Top(title, name, named[:_TOP], note))
    busiest = sorted((row for row in groups[0] if row.group), key=attrgetter("tokens"), reverse=True)[
        :_MODELS_SHOWN
    ]
    names = [cast("str", row.group) for row in busiest]
    found = await asyncio.gather(
        *(
            ledger.series(
                since_us=since,
                until_us=until,
                step_seconds=step,
                tenant=tenant,
                model=name,
                percentiles=False,
            )
            for name in names
        )
    )
    empty = UsageRow()
    by_model = dict(zip(names, found, strict=True))
    return Figures(total[0] if total else empty, before[0] if before else empty, series, by_model, tops)


class Table:
    """The page's figures by time: the charts are drawn from them and the table under the charts lists them."""

    def __init__(self, times: list[int], figures: Figures) -> None:
        self._times = times
        self._rows = _by_time(times, figures.series)
        self._models = {
            name: [row.tokens for row in _by_time(times, rows)] for name, rows in figures.by_model.items()
        }
        tokens = [row.tokens for row in self._rows]
        named = [sum(column) for column in zip(*self._models.values(), strict=True)] or [0] * len(times)
        rest = [max(0, a - b) for a, b in zip(tokens, named, strict=True)]
        if any(rest):
            self._models["other"] = rest
        self.head = ["Answered", "Errors", "p50", "p95", "p99", "Spend", *self._models]

    def charts(self) -> list[Chart]:
        """The four pictures. Column 0 of the table is the time."""
        rows, times = self._rows, self._times
        good = Series("Answered", "c1", [row.requests - row.errors for row in rows])
        bad = Series("Errors", "cbad", [row.errors for row in rows])
        speeds = [
            Series("p50", "c1", [row.p50_ms for row in rows]),
            Series("p95", "c2", [row.p95_ms for row in rows]),
            Series("p99", "c3", [row.p99_ms for row in rows]),
        ]
        spend = [Series("Spend", "c2", [row.cost_nusd for row in rows])]
        layers = [
            Series(name, "cother" if name == "other" else f"c{i + 1}", values)
            for i, (name, values) in enumerate(self._models.items())
        ]
        return [
            bars("Requests", times, [good, bad], label=formatting.short_count, columns=(1, 2), whole=True),
            lines("Latency", times, speeds, label=formatting.short_duration, columns=(3, 4, 5)),
            bars("Spend", times, spend, label=formatting.short_usd, columns=(6,)),
            bars(
                "Tokens by model",
                times,
                layers,
                label=formatting.short_count,
                columns=range(7, 7 + len(layers)),
                whole=True,
            ),
        ]

    def rows(self) -> list[tuple[int, list[str]]]:
        """The same as text: the time and one cell for each of `head`."""
        shown = []
        for i, (us, row) in enumerate(zip(self._times, self._rows, strict=True)):
            tokens = [formatting.count(values[i]) for values in self._models.values()]
            speeds = [formatting.duration(value) for value in (row.p50_ms, row.p95_ms, row.p99_ms)]
            counts = [formatting.count(row.requests - row.errors), formatting.count(row.errors)]
            shown.append((us, [*counts, *speeds, formatting.usd(row.cost_nusd), *tokens]))
        return shown


def _by_time(times: list[int], rows: list[UsageRow]) -> list[UsageRow]:
    """One row for each time; buckets in which nothing happened are empty rows."""
    found = {row.bucket_us: row for row in rows}
    return [found.get(us) or UsageRow(bucket_us=us) for us in times]
