"""The five scenarios, measured with our own provider (`upstream.py`) and load (`load.py`).

The gateway has CPU 0 to itself; the provider and the load share CPU 1. CPU time is user plus system time of the
gateway's processes over a run, divided by the good answers. Pinning and CPU times need Linux; elsewhere only
latency and throughput are measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
LINUX = sys.platform == "linux"
GATEWAY_CPU, LOAD_CPU = 0, 1
ADMIN_KEY = "ms-admin-0123456789abcdef0123456789abcdef"
START_SECONDS = 60

#: name: (path, streamed, bytes of prompt, model, share of the time)
SCENARIOS: dict[str, tuple[str, bool, int, str, float]] = {
    "chat-1k": ("/v1/chat/completions", False, 1024, "bench", 1.0),
    "chat-32k": ("/v1/chat/completions", False, 32768, "bench", 0.5),
    "sse-50": ("/v1/chat/completions", True, 1024, "bench", 0.5),
    "sse-50-2ms": ("/v1/chat/completions", True, 1024, "bench-g2000", 0.5),
    "embed": ("/v1/embeddings", False, 200, "bench", 0.5),
}
CONFIG = """
[storage]
database = "sqlite:///{folder}/mainspring.db"
blobs = "file://{folder}/blobs"

[providers.bench]
api = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_keys = ["bench-key"]
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def request_body(path: str, size: int, model: str, *, streamed: bool = False) -> bytes:
    text = ("Under one id goes every answer, by rule. " * (size // 41 + 1))[:size]
    if path.endswith("embeddings"):
        return json.dumps({"model": model, "input": text}).encode()
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    document: dict[str, Any] = {"model": model, "messages": messages, "temperature": 0.7, "max_tokens": 256}
    if streamed:
        document |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(document).encode()


@dataclasses.dataclass
class Target:
    """Where requests go: the gateway, or the provider itself (then `process` is None)."""

    port: int
    folder: Path
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    process: int | None = None
    #: Stands before model names.
    prefix: str = ""

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", path, body, {"content-type": "application/json", **self.headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def until(self, wanted: int, path: str, body: bytes, log: Path) -> bytes:
        """Ask until the answer has the wanted status.

        Raises:
            SystemExit: it took longer than a minute; the end of the log says why.
        """
        began, last = time.monotonic(), "no answer"
        while time.monotonic() - began < START_SECONDS:
            with contextlib.suppress(OSError):  # it does not listen yet
                status, data = self.post(path, body)
                if status == wanted:
                    return data
                last = f"{status} {data[:300]!r}"
            time.sleep(0.005)
        raise SystemExit(
            f"no good answer on port {self.port}: {last}\n{log.read_text(errors='replace')[-3000:]}"
        )

    def load(self, name: str, connections: int, seconds: float) -> dict[str, Any]:
        """Load of one scenario; the figures of `load.py`, and the CPU time of an answer in `cpu_us`."""
        path, streamed, size, model, _ = SCENARIOS[name]
        body = self.folder / f"{name}.json"
        body.write_bytes(request_body(path, size, self.prefix + model, streamed=streamed))
        command = [sys.executable, BENCH / "load.py", "--port", self.port, "--path", path, "--body", body]
        command += [
            "--connections",
            connections,
            "--seconds",
            seconds,
            "--expect",
            "[DONE]" if streamed else "",
        ]
        for header, value in self.headers.items():
            command += ["--header", f"{header}: {value}"]
        before = cpu_seconds(self.process)
        done = subprocess.run(
            [*map(str, command)], check=True, capture_output=True, text=True, **pinned(LOAD_CPU)
        )
        after = cpu_seconds(self.process)
        figures: dict[str, Any] = json.loads(done.stdout)
        figures["cpu_us"] = None
        if before is not None and after is not None:
            figures["cpu_us"] = round((after - before) * 1e6 / max(1, figures["requests"]), 1)
        return figures

    def measure(self, seconds: float, runs: int) -> dict[str, Any]:
        """Every scenario at 64, 4 and 1 connections, `runs` times."""
        results = {}
        for name, scenario in SCENARIOS.items():
            self.load(name, 64, 1)  # warm
            rows: list[dict[str, Any]] = []
            for _ in range(runs):
                lengths = ((64, seconds * scenario[4]), (4, seconds * scenario[4] / 3), (1, 1.0))
                row: dict[str, Any] = {f"c{n}": self.load(name, n, max(1.0, length)) for n, length in lengths}
                rows.append(row | {"calibration_ms": calibration_ms()})
            results[name] = {"runs": rows}
            print(f"  {name}: {rows[-1]['c64']}", flush=True)
        return results


def pinned(cpu: int | None) -> dict[str, Any]:
    """Arguments of `Popen` that keep a process on one CPU; None: wherever it likes."""
    if cpu is None or not LINUX or (os.cpu_count() or 1) == 1:
        return {}
    return {"preexec_fn": lambda: os.sched_setaffinity(0, {cpu})}


def processes(root: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def cpu_seconds(root: int | None) -> float | None:
    if root is None or not LINUX:
        return None
    ticks = 0
    for process in processes(root):
        with contextlib.suppress(OSError):  # it ended while we looked
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(root: int, field: str) -> float | None:
    if not LINUX:
        return None
    kilobytes = 0
    for process in processes(root):
        with contextlib.suppress(OSError):  # it ended while we looked
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith(field))
    return round(kilobytes / 1024, 1)


def calibration_ms() -> float:
    """CPU time of a fixed loop on the gateway's CPU: tells a busy machine from a quiet one."""
    before = os.sched_getaffinity(0) if LINUX else None
    if LINUX:
        os.sched_setaffinity(0, {GATEWAY_CPU})
    began, table = time.process_time(), {}
    for number in range(300_000):
        table[number & 1023] = str(number)
    spent = time.process_time() - began
    if before:
        os.sched_setaffinity(0, before)
    return round(spent * 1e3, 1)


@contextlib.contextmanager
def started(
    command: list[str], cpu: int | None, log: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on one CPU, ended on the way out."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**os.environ, **(env or {})},
            **pinned(cpu),
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def run(seconds: float, runs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure the provider alone, then Mainspring in front of it.

    Returns:
        The results without and with Mainspring, in the shape that `report.py` reads.
    """
    upstream_port, port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as name:
        folder = Path(name)
        upstream_log, log = folder / "upstream.log", folder / "mainspring.log"
        upstream = [sys.executable, str(BENCH / "upstream.py"), "--port", str(upstream_port)]
        chat = "/v1/chat/completions"
        with started(upstream, LOAD_CPU, upstream_log):
            provider = Target(upstream_port, folder)
            provider.until(200, chat, request_body(chat, 100, "bench"), upstream_log)
            print("no gateway")
            direct = {"scenarios": provider.measure(seconds, 1)}
            (folder / "bench.toml").write_text(CONFIG.format(folder=folder, port=upstream_port))
            command = [str(ROOT / ".venv/bin/mainspring"), "serve", "--config", str(folder / "bench.toml")]
            began = time.monotonic()
            with started(
                [*command, "--port", str(port)], GATEWAY_CPU, log, {"MAINSPRING_ADMIN_KEY": ADMIN_KEY}
            ) as process:
                gateway = Target(
                    port, folder, {"authorization": f"Bearer {ADMIN_KEY}"}, process.pid, "bench/"
                )
                made = gateway.until(201, "/api/v1/keys", b'{"name": "bench", "tenant": "bench"}', log)
                gateway.headers = {"authorization": f"Bearer {json.loads(made)['key']}"}
                gateway.until(200, chat, request_body(chat, 100, "bench/bench"), log)
                result: dict[str, Any] = {"start_s": round(time.monotonic() - began, 3)}
                time.sleep(3)
                result["idle_rss_mb"] = memory_mb(process.pid, "VmRSS")
                print("mainspring")
                result["scenarios"] = gateway.measure(seconds, runs)
                result["peak_rss_mb"] = memory_mb(process.pid, "VmHWM")
    return direct, result
