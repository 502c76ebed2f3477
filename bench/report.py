"""Results into figures, figures into the table of docs/reference/performance.md, and a comparison with the baseline."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/performance.md"
BASELINE = ROOT / "bench/baseline.json"
#: Chunks of the measured stream: a role, fifty words, a finish, the usage.
CHUNKS = 53
#: A figure this much worse than the baseline is called a regression; runs of one build differ by about a tenth.
TOLERANCE = 0.25

#: key: (what it is, unit, the goal)
FIGURES: dict[str, tuple[str, str, float | None]] = {
    "chat_1k_cpu": ("CPU per chat of 1 kB, 64 connections", "us", 170),
    "chat_32k_cpu": ("CPU per chat of 32 kB, 64 connections", "us", 300),
    "chunk_cpu": ("CPU per streamed chunk that arrives alone", "us", 30),
    "burst_cpu": ("CPU per stream of 50 chunks without gaps", "us", None),
    "embed_cpu": ("CPU per embedding of 1536 numbers", "us", 250),
    "chat_1k_rps": ("chats of 1 kB a second, one core", "1/s", None),
    "added_p50": ("added latency, median, one connection", "us", 500),
    "first_content_added": ("first content of a stream, after the provider's", "us", 500),
    "first_chunk_added": (
        "first byte of a stream, after the provider's (held until there is content)",
        "us",
        None,
    ),
    "start": ("start to the first answer", "s", 1.5),
    "idle_rss": ("memory, idle", "MB", 90),
    "peak_rss": ("memory, highest", "MB", None),
}


def median(result: Any, scenario: str, connections: str, field: str) -> float | None:
    rows = result["scenarios"].get(scenario, {}).get("runs", [])
    values = [row[connections][field] for row in rows if row[connections].get(field) is not None]
    return statistics.median(values) if values else None


def best(result: Any, scenario: str, connections: str, field: str) -> float | None:
    rows = result["scenarios"].get(scenario, {}).get("runs", [])
    return min((row[connections][field] for row in rows), default=None)


def less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def figures(direct: Any, result: Any, own: tuple[Any, Any]) -> dict[str, float]:
    """The published figures; what was not measured is left out.

    `own` are results of our own load, which alone looks into streams for their first content.
    """
    chunked = median(result, "sse-50-2ms", "c64", "cpu_us")
    found = {
        "chat_1k_cpu": median(result, "chat-1k", "c64", "cpu_us"),
        "chat_32k_cpu": median(result, "chat-32k", "c64", "cpu_us"),
        "chunk_cpu": None if chunked is None else chunked / CHUNKS,
        "burst_cpu": median(result, "sse-50", "c64", "cpu_us"),
        "embed_cpu": median(result, "embed", "c64", "cpu_us"),
        "chat_1k_rps": median(result, "chat-1k", "c64", "rps"),
        "added_p50": less(best(result, "chat-1k", "c1", "p50_us"), best(direct, "chat-1k", "c1", "p50_us")),
        "first_content_added": less(*(best(one, "sse-50-2ms", "c1", "ttfb_p50_us") for one in reversed(own))),
        "first_chunk_added": None
        if direct is own[0]
        else less(*(best(one, "sse-50-2ms", "c1", "ttfb_p50_us") for one in (result, direct))),
        "start": result.get("start_s"),
        "idle_rss": result.get("idle_rss_mb"),
        "peak_rss": result.get("peak_rss_mb"),
    }
    return {name: round(value, 2) for name, value in found.items() if value is not None}


def failures(result: Any) -> list[str]:
    """What was asked and did not come back good."""
    found = []
    for name, scenario in result["scenarios"].items():
        found += [f"{name}: {scenario['failed']}"] if "failed" in scenario else []
        bad = sum(
            row[c]["bad"] + row[c]["dropped"] for row in scenario.get("runs", []) for c in ("c64", "c4", "c1")
        )
        found += [f"{name}: {bad} bad answers"] if bad else []
    return found


def machine(result: Any) -> dict[str, str]:
    """The facts that a figure means nothing without."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0] if names else cpu
    rows = [row for scenario in result["scenarios"].values() for row in scenario.get("runs", [])]
    calibration = statistics.median(row["calibration_ms"] for row in rows) if rows else None
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "calibration": f"{calibration} ms",
    }


def shown(value: float, unit: str) -> str:
    return f"{value:,.2f} {unit}" if unit == "s" or value < 10 else f"{value:,.0f} {unit}"


def table(values: dict[str, float]) -> str:
    rows = ["| figure | measured | goal |", "|---|--:|--:|"]
    for name, (title, unit, goal) in FIGURES.items():
        if name in values:
            rows.append(
                f"| {title} | {shown(values[name], unit)} | {'' if goal is None else f'{goal:g} {unit}'} |"
            )
    return "\n".join(rows)


def facts(where: dict[str, str], harness: str) -> str:
    return (
        f"`make bench` on {where['date']}: {where['cpu']}, {where['system']}, Python {where['python']}. {harness} "
        f"A fixed loop of Python took {where['calibration']} of CPU between the runs; 19 to 22 ms is this kind of "
        "machine when nothing else runs on it, and more means that the CPU figures are inflated by as much."
    )


def between(name: str, text: str, path: Path = PAGE) -> None:
    """Replace what stands between the two marks `name` in a page."""
    page = path.read_text("utf-8")
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = page.split(begin, 1)
    after = rest.split(end, 1)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", "utf-8")


def compare(values: dict[str, float]) -> bool:
    """Print each figure beside the baseline; True when none got much worse."""
    if not BASELINE.exists():
        print("no baseline yet; --save-baseline makes one")
        return True
    before = json.loads(BASELINE.read_text())["figures"]
    fine = True
    print(f"\n{'figure':48} {'baseline':>12} {'now':>12} {'change':>8}")
    for name, (title, unit, _) in FIGURES.items():
        if name not in values or not before.get(name):
            continue
        change = values[name] / before[name] - 1
        worse = -change if unit == "1/s" else change
        fine &= worse <= TOLERANCE
        mark = "  regression" if worse > TOLERANCE else ""
        print(
            f"{title:48} {shown(before[name], unit):>12} {shown(values[name], unit):>12} {change:>+8.0%}{mark}"
        )
    return fine


def save_baseline(values: dict[str, float], where: dict[str, str], harness: str) -> None:
    document = {"machine": where, "harness": harness, "figures": values}
    BASELINE.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit("run bench/run")
