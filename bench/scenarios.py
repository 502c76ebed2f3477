"""The five scenarios, and what it takes to measure a gateway in them.

Gateways have CPU 0 to themselves; the provider and the load (`load.py`, in this process) share CPU 1. CPU time is user plus
system time of a gateway's processes over a run, divided by the good answers. Pinning and CPU times need Linux;
elsewhere only latency and throughput are measured.
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
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import load
import uvloop

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
LINUX = sys.platform == "linux"
GATEWAY_CPU, LOAD_CPU = 0, 1
ADMIN_KEY = "ms-admin-0123456789abcdef0123456789abcdef"
START_SECONDS = 60

#: name: (path, streamed, bytes of prompt, model, whether it is measured at one connection too)
SCENARIOS: dict[str, tuple[str, bool, int, str, bool]] = {
    "chat-1k": ("/v1/chat/completions", False, 1024, "bench", True),
    "chat-32k": ("/v1/chat/completions", False, 32768, "bench", False),
    "sse-50": ("/v1/chat/completions", True, 1024, "bench", False),
    "sse-50-2ms": ("/v1/chat/completions", True, 1024, "bench-g2000", True),
    "embed": ("/v1/embeddings", False, 200, "bench", False),
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

    def ready(self, log: Path) -> None:
        """Wait until it answers a chat."""
        path = "/v1/chat/completions"
        self.until(200, path, request_body(path, 100, f"{self.prefix}bench"), log)

    def load(self, name: str, connections: int, seconds: float) -> dict[str, float]:
        """Load of one scenario; the figures of `load.py`, and the CPU time of an answer in `cpu_us`."""
        path, streamed, size, model, _ = SCENARIOS[name]
        body = request_body(path, size, self.prefix + model, streamed=streamed)
        counted = self.process if LINUX else None
        before = cpu_us(counted) if counted else 0.0
        expect = "[DONE]" if streamed else ""
        options = {"connections": connections, "seconds": seconds, "expect": expect}
        figures = asked(self.port, path, self.headers, body, **options)
        if counted:
            figures["cpu_us"] = round((cpu_us(counted) - before) / max(1, figures["requests"]), 1)
        return figures


def asked(port: int, path: str, headers: dict[str, str], body: bytes, **options: Any) -> dict[str, float]:
    """Load by this process, until the last request begun is answered; `options` are those of `load.measure`."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return uvloop.run(load.measure(port, load.request_bytes(path, lines, body), **options))


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


def cpu_us(root: int) -> float:
    """CPU of a process and its descendants, by their clocks: finer than the ticks of /proc, so that turns can be short."""
    total = 0.0
    for process in processes(root):
        with contextlib.suppress(OSError):  # it ended while we looked
            total += time.clock_gettime_ns((~process << 3) | 2) / 1e3  # clock_getcpuclockid(3)
    return total


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


@contextlib.contextmanager
def mainspring(folder: Path, upstream: int) -> Iterator[tuple[Target, dict[str, Any]]]:
    """Mainspring in front of a provider, with a key made; the target, and what start and idling cost."""
    port, log = free_port(), folder / "mainspring.log"
    (folder / "bench.toml").write_text(CONFIG.format(folder=folder, port=upstream))
    command = [str(ROOT / ".venv/bin/mainspring"), "serve", "--config", str(folder / "bench.toml")]
    began = time.monotonic()
    with started(
        [*command, "--port", str(port)], GATEWAY_CPU, log, {"MAINSPRING_ADMIN_KEY": ADMIN_KEY}
    ) as process:
        gateway = Target(port, {"authorization": f"Bearer {ADMIN_KEY}"}, process.pid, "bench/")
        made = gateway.until(201, "/api/v1/keys", b'{"name": "bench", "tenant": "bench"}', log)
        gateway.headers = {"authorization": f"Bearer {json.loads(made)['key']}"}
        gateway.ready(log)
        facts: dict[str, Any] = {"start_s": round(time.monotonic() - began, 3)}
        time.sleep(3)
        yield gateway, facts | {"idle_rss_mb": memory_mb(process.pid, "VmRSS")}
