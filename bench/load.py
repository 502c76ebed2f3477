"""Closed-loop load: N connections, each sending its next request when the last answer has ended.

When the time is up no more requests start and those under way are waited for. An answer is good when its status is 200
and, if something is expected at its end, its last bytes hold that text.
"""

from __future__ import annotations

import asyncio
import re
import sys
from time import perf_counter_ns

import httptools

#: Text in a chunk of a chat.
_CONTENT = re.compile(rb'"content": ?"[^"]')


class Run:
    """What all connections share."""

    def __init__(self, request: bytes, expect: bytes, seconds: float) -> None:
        self.request = request
        self.expect = expect
        self.end = perf_counter_ns() + int(seconds * 1e9)
        self.latencies: list[int] = []
        self.first_bytes: list[int] = []
        self.first_contents: list[int] = []
        self.bad = 0
        self.dropped = 0
        self.open = 0
        self.finished = asyncio.get_running_loop().create_future()

    def leave(self) -> None:
        self.open -= 1
        if not self.open and not self.finished.done():
            self.finished.set_result(None)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.run.open += 1
        self.ask()

    def ask(self) -> None:
        if perf_counter_ns() >= self.run.end:
            self.busy = False
            self.transport.close()
            return
        self.parser = httptools.HttpResponseParser(self)
        self.busy = True
        self.first = self.content = 0
        self.tail = b""
        self.started = perf_counter_ns()
        self.transport.write(self.run.request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if not self.first:
            self.first = perf_counter_ns()
        if not self.content and self.run.expect and _CONTENT.search(body):
            self.content = perf_counter_ns()
        if self.run.expect:
            self.tail = self.tail[-256:] + body[-256:]

    def on_message_complete(self) -> None:
        now = perf_counter_ns()
        if self.parser.get_status_code() == 200 and self.run.expect in self.tail:
            self.run.latencies.append(now - self.started)
            self.run.first_bytes.append(self.first - self.started)
            self.run.first_contents.append((self.content or self.first) - self.started)
        else:
            self.run.bad += 1
        self.ask()

    def connection_lost(self, _error: Exception | None) -> None:
        self.run.dropped += self.busy
        self.run.leave()


def percentile(ordered: list[int], share: float) -> int:
    """Microseconds at `share` of a sorted list of nanoseconds."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] // 1000 if ordered else 0


def request_bytes(path: str, headers: list[str], body: bytes) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{lines}\r\n"
    )
    return head.encode() + body


async def measure(
    port: int, request: bytes, connections: int, seconds: float, expect: str = ""
) -> dict[str, float]:
    """Ask for `seconds`, and wait for the answers.

    Returns:
        Counts, and times in microseconds: `byte` is the time to the first byte of a body, `content` that to the first
        content of a stream.
    """
    run = Run(request, expect.encode(), seconds)
    loop = asyncio.get_running_loop()
    began = perf_counter_ns()
    for _ in range(connections):
        await loop.create_connection(lambda: Client(run), "127.0.0.1", port)
    await asyncio.wait_for(run.finished, seconds + 60)
    seconds = (perf_counter_ns() - began) / 1e9
    whole, content, first = sorted(run.latencies), sorted(run.first_contents), sorted(run.first_bytes)
    return {
        "requests": len(whole),
        "bad": run.bad,
        "dropped": run.dropped,
        "rps": round(len(whole) / seconds, 1),
        "p50_us": percentile(whole, 0.5),
        "p99_us": percentile(whole, 0.99),
        "byte_p50_us": percentile(first, 0.5),
        "content_p50_us": percentile(content, 0.5),
    }


if __name__ == "__main__":
    sys.exit("run bench/run")
