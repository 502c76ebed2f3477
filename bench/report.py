"""Results into figures, figures into the table of docs/reference/performance.md, and a comparison with the baseline."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turns import DIRECT, OURS, PROXY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turns import Turn

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/performance.md"
BASELINE = ROOT / "bench/baseline.json"
#: Chunks of the measured stream: a role, fifty words, a finish, the usage.
CHUNKS = 53
#: A figure this much worse than the baseline is called a regression; runs of one build differ by about a tenth.
TOLERANCE = 0.25


@dataclasses.dataclass(frozen=True)
class Figure:
    """A row of the table.

    Attributes:
        title: what it is.
        unit: of all numbers here.
        field: where it stands in a turn, with `scenario` and `connections`; without them, in what is measured once.
        goal: what ours is to stay under, on a quiet machine.
        parts: what stands there is so many of it.
        added: it is what a gateway adds to the figure of the provider alone.
        quiet: the bare proxy's on a quiet machine, as far as it is known (see `QUIET`).
    """

    title: str
    unit: str
    field: str
    goal: float | None = None
    scenario: str = ""
    connections: int = 64
    parts: int = 1
    added: bool = False
    quiet: float | None = None


#: Two cores of an AMD EPYC; medians of three runs, the added latency of the best. Embeddings were not measured there with
#: this proxy: they cost 154 us with the one that has Starlette in it, which costs 32 to 36 us more in the scenarios that both
#: were measured in.
QUIET = (
    "What the bare proxy costs on a quiet machine is the comparison harness's figure of 21 November 2026 (the loop "
    "below took 21 ms): 84 us, 106 us, 20 us, 11,829 1/s, 210 us and, of first content, 370 us at four connections, which is "
    "a little more than at one; the 119 us of an embedding are derived, from a proxy with Starlette in it."
)
#: Of the bare proxy for a chat of 1 kB; see `QUIET`.
QUIET_CHAT_US = 84.0

FIGURES: dict[str, Figure] = {
    "chat_1k_cpu": Figure(
        "CPU per chat of 1 kB, 64 connections", "us", "cpu_us", 170, "chat-1k", quiet=QUIET_CHAT_US
    ),
    "chat_32k_cpu": Figure(
        "CPU per chat of 32 kB, 64 connections", "us", "cpu_us", 300, "chat-32k", quiet=106
    ),
    "chunk_cpu": Figure(
        "CPU per streamed chunk that arrives alone",
        "us",
        "cpu_us",
        30,
        "sse-50-2ms",
        parts=CHUNKS,
        quiet=1085 / CHUNKS,
    ),
    "burst_cpu": Figure("CPU per stream of 50 chunks without gaps", "us", "cpu_us", None, "sse-50"),
    "embed_cpu": Figure("CPU per embedding of 1536 numbers", "us", "cpu_us", 250, "embed", quiet=154 - 35),
    "chat_1k_rps": Figure("chats of 1 kB a second, one core", "1/s", "rps", None, "chat-1k", quiet=11_829),
    "added_p50": Figure(
        "added latency, median, one connection", "us", "p50_us", 500, "chat-1k", 1, added=True, quiet=210
    ),
    "first_content_added": Figure(
        "first content of a stream, after the provider's",
        "us",
        "content_p50_us",
        500,
        "sse-50-2ms",
        1,
        added=True,
        quiet=2513 - 2143,
    ),
    "first_chunk_added": Figure(
        "first byte of a stream, after the provider's (held until there is content)",
        "us",
        "byte_p50_us",
        None,
        "sse-50-2ms",
        1,
        added=True,
    ),
    "start": Figure("start to the first answer", "s", "start_s", 1.5),
    "idle_rss": Figure("memory, idle", "MB", "idle_rss_mb", 90),
    "peak_rss": Figure("memory, highest", "MB", "peak_rss_mb"),
}


def value(turn: Turn, who: str, figure: Figure) -> float | None:
    """What a turn says; None: it was not measured."""
    found = turn.get(who, {}).get(figure.scenario, {}).get(figure.connections, {}).get(figure.field)
    if found is None:
        return None
    alone = value(turn, DIRECT, dataclasses.replace(figure, added=False)) if figure.added else 0.0
    return None if alone is None else (found - alone) / figure.parts


def figures(turns: list[Turn], once: dict[str, Any], *, quiet: bool) -> dict[str, dict[str, float]]:
    """The published figures; what was not measured is left out.

    Args:
        turns: what was measured again and again.
        once: what was not.
        quiet: whether the bare proxy's figures on a quiet machine apply to this provider.

    Returns:
        By figure: `ours` and `proxy`, medians of the turns; `ratio`, the median of the ratios within a turn; `quiet`, what
        that makes of the bare proxy's figure on a quiet machine.
    """
    found: dict[str, dict[str, float]] = {}
    for key, figure in FIGURES.items():
        if not figure.scenario:
            if once.get(figure.field) is not None:
                found[key] = {"ours": round(once[figure.field], 2)}
            continue
        pairs = [(value(turn, OURS, figure), value(turn, PROXY, figure)) for turn in turns]
        ours = [mine for mine, _ in pairs if mine is not None]
        proxy = [other for _, other in pairs if other is not None]
        # What a proxy adds can drown in what else the machine does; such a turn tells no ratio.
        ratios = [mine / other for mine, other in pairs if mine is not None and other and other > 0]
        if ours:
            found[key] = row = {"ours": round(statistics.median(ours), 2)}
            if len(ratios) * 2 > len(pairs):
                row |= {
                    "proxy": round(statistics.median(proxy), 2),
                    "ratio": round(statistics.median(ratios), 3),
                }
                if quiet and figure.quiet:
                    row["quiet"] = round(row["ratio"] * figure.quiet, 2)
    return found


def loads(turns: list[Turn]) -> Iterator[tuple[str, dict[str, float]]]:
    """Every load, and what it was."""
    for number, turn in enumerate(turns, 1):
        for who, found in turn.items():
            for name, rows in found.items():
                for connections, row in rows.items():
                    yield f"turn {number}, {who}, {name}, {connections} connections", row


def failures(turns: list[Turn]) -> list[str]:
    """What was asked and did not come back good."""
    return [
        f"{what}: {row['bad'] + row['dropped']:g} bad answers, {row['requests']:g} good"
        for what, row in loads(turns)
        if row["bad"] or row["dropped"] or not row["requests"]
    ]


def machine(calibrations: list[float]) -> dict[str, str]:
    """The facts that a figure means nothing without."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0] if names else cpu
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "calibration": f"{min(calibrations):g} to {max(calibrations):g} ms of CPU, {statistics.median(calibrations):g} ms in the median"
        if calibrations
        else "",
    }


def shown(value: float, unit: str) -> str:
    return f"{value:,.2f} {unit}" if unit == "s" or value < 10 else f"{value:,.0f} {unit}"


def table(values: dict[str, dict[str, float]]) -> str:
    """As Markdown; without a bare proxy, what was measured and the goal."""
    beside = any("ratio" in row for row in values.values())
    heads = ["figure", "measured", "bare proxy", "ratio", "on a quiet machine", "goal"]
    lines = []
    for key, figure in FIGURES.items():
        if key in values:
            row, unit = values[key], figure.unit
            cells = [figure.title, shown(row["ours"], unit)]
            cells += [shown(row["proxy"], unit) if "proxy" in row else ""]
            cells += [f"{row['ratio']:.2f}" if "ratio" in row else ""]
            cells += [shown(row["quiet"], unit) if "quiet" in row else ""]
            lines.append([*cells, "" if figure.goal is None else f"{figure.goal:g} {unit}"])
    lines = [heads, *lines]
    if not beside:
        lines = [[*line[:2], line[-1]] for line in lines]
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([rows[0], f"|---{'|--:' * (len(lines[0]) - 1)}|", *rows[1:]])


def facts(where: dict[str, str], provider: str, turns: int, proxy: str) -> str:
    return (
        f"`make bench` on {where['date']}: {where['cpu']}, {where['system']}, Python {where['python']}. {provider} "
        f"{turns} turns. {proxy} A fixed loop of Python took {where['calibration']} between the loads; 19 to 22 ms is this "
        "kind of machine when nothing else runs on it, and more means that what was measured is inflated by as much."
    )


def between(name: str, text: str, path: Path = PAGE) -> None:
    """Replace what stands between the two marks `name` in a page."""
    page = path.read_text("utf-8")
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = page.split(begin, 1)
    after = rest.split(end, 1)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", "utf-8")


def compare(values: dict[str, dict[str, float]]) -> bool:
    """Print each figure beside the baseline; True when none got much worse.

    Compared is the ratio to the bare proxy where both have it: it does not change with what else the machine does.
    """
    if not BASELINE.exists():
        print("no baseline yet; --save-baseline makes one")
        return True
    before = json.loads(BASELINE.read_text())["figures"]
    fine = True
    print(f"\n{'figure':48} {'baseline':>14} {'now':>14} {'change':>8}")
    for key, figure in FIGURES.items():
        if key not in values or key not in before:
            continue
        then, now = before[key], values[key]
        field = "ratio" if "ratio" in then and "ratio" in now else "ours"
        change = now[field] / then[field] - 1 if then[field] else 0.0
        worse = -change if figure.unit == "1/s" else change
        fine &= worse <= TOLERANCE
        mark = "  regression" if worse > TOLERANCE else ""
        texts = [
            f"{one[field]:.2f} times" if field == "ratio" else shown(one[field], figure.unit)
            for one in (then, now)
        ]
        print(f"{figure.title[:48]:48} {texts[0]:>14} {texts[1]:>14} {change:>+8.0%}{mark}")
    return fine


def save_baseline(values: dict[str, dict[str, float]], where: dict[str, str], harness: str) -> None:
    document = {"machine": where, "harness": harness, "figures": values}
    BASELINE.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit("run bench/run")
