from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mainspring.base import telemetry
from mainspring.base.telemetry import Meter

if TYPE_CHECKING:
    from pathlib import Path

ANSWER: dict[str, Any] = {
    "dialect": "openai.chat",
    "route": "default",
    "provider": "openai",
    "model": "m",
    "status": 200,
    "error": None,
    "stream": True,
    "latency_s": 0.2,
    "first_token_s": 0.03,
    "input_tokens": 10,
    "output_tokens": 5,
    "cost_nusd": 1_500_000,
}


def _samples(meter: Meter) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = meter.render()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _value(meter: Meter, name: str, **labels: str) -> float:
    """The sum of all samples of that name whose labels contain these."""
    found = [
        value
        for (sample, its), value in _samples(meter).items()
        if sample == name and set(labels.items()) <= set(its)
    ]
    assert found, name
    return sum(found)


def test_answers_are_counted_by_how_they_ended() -> None:
    meter = Meter()
    meter.answer(**ANSWER)
    meter.answer(**ANSWER)
    meter.answer(
        **{**ANSWER, "status": 504, "error": "provider_timeout", "cost_nusd": None, "first_token_s": None}
    )
    assert _value(meter, "mainspring_requests_total", status="200") == 2
    assert _value(meter, "mainspring_requests_total", status="504", error="provider_timeout") == 1
    assert _value(meter, "mainspring_request_duration_seconds_count") == 3
    assert _value(meter, "mainspring_request_duration_seconds_bucket", le="0.25") == 3
    assert _value(meter, "mainspring_request_duration_seconds_bucket", le="0.1") == 0
    assert _value(meter, "mainspring_first_token_seconds_count") == 2
    assert _value(meter, "mainspring_tokens_total", kind="input") == 30
    assert _value(meter, "mainspring_tokens_total", kind="output") == 15
    assert _value(meter, "mainspring_cost_usd_total") == pytest.approx(0.003)


def test_events_and_states() -> None:
    meter = Meter()
    depth = [3]
    meter.gauge("queue_rows", "Rows that wait.", lambda: depth[0])
    meter.count("retries", "Retries.", provider="a")
    meter.count("retries", "Retries.", 2, provider="b")
    assert _value(meter, "mainspring_queue_rows") == 3
    depth[0] = 4
    assert _value(meter, "mainspring_queue_rows") == 4
    assert _value(meter, "mainspring_retries_total", provider="b") == 2
    assert _value(meter, "process_resident_memory_bytes") > 0


def test_made_up_names_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "MOST_SERIES", 200)  # the same bound, reached sooner
    meter = Meter()
    for number in range(300):
        meter.answer(**{**ANSWER, "model": f"m{number}"})
    assert _value(meter, "mainspring_requests_total") == 300
    assert _value(meter, "mainspring_requests_total", model="other") == 100


def test_workers_are_added_up_and_a_dead_one_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from mainspring.base import telemetry\n"
        "telemetry.join_workers(Path(sys.argv[1]), int(sys.argv[2]))\n"
        "meter = telemetry.Meter()\n"
        f"meter.answer(**{ANSWER!r})\n"
        "meter.gauge('queue_rows', 'Rows.', lambda: int(sys.argv[3]))\n"
        "meter.count('retries', 'Retries.')\n"
        "meter.close()\n"
    )
    for worker, depth in (("0", "5"), ("1", "6"), ("1", "7")):  # worker 1 ended and was replaced
        subprocess.run([sys.executable, "-c", code, str(tmp_path), worker, depth], check=True)
    (tmp_path / "2-1.metrics").write_bytes(b"half a file")
    monkeypatch.setattr(telemetry, "_workers", None)
    telemetry.join_workers(tmp_path, 0)
    meter = Meter()
    meter.answer(**ANSWER)
    assert _value(meter, "mainspring_requests_total") == 4
    assert _value(meter, "mainspring_request_duration_seconds_count") == 4
    assert _value(meter, "mainspring_retries_total") == 3
    assert _value(meter, "mainspring_queue_rows", worker="1") == 7
    assert _value(meter, "mainspring_requests_total") == 4, "asking does not count"
