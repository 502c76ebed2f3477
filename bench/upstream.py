"""A model provider that costs next to nothing, for measuring what stands in front of it.

Speaks OpenAI chat (whole and streamed) and embeddings. Answers are built once. A model name ending in `-gN` leaves
N microseconds between the chunks of a stream. Run: `python bench/upstream.py --port 9100`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re

import httptools
import uvloop

CHUNKS = 50
WORDS = ("one", "answer", "goes", "by", "under", "one", "id")


def head(kind: str, length: int | None) -> bytes:
    size = f"content-length: {length}" if length is not None else "transfer-encoding: chunked"
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{size}\r\n\r\n".encode()


def whole(document: object) -> bytes:
    body = json.dumps(document).encode()
    return head("application/json", len(body)) + body


def framed(text: str) -> bytes:
    data = f"data: {text}\n\n".encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(delta: dict[str, str], finish: str | None = None, **more: object) -> str:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    common = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "bench",
    }
    return json.dumps(common | {"choices": choices} | more, separators=(",", ":"))  # as providers write it


USAGE = {"prompt_tokens": 200, "completion_tokens": CHUNKS, "total_tokens": 200 + CHUNKS}
CHAT = whole(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": " ".join(WORDS[i % 7] for i in range(100))},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
)
EMBEDDING = whole(
    {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": 0,
                "embedding": [round(0.001 * (i % 97) - 0.05, 4) for i in range(1536)],
            }
        ],
        "model": "bench",
        "usage": {"prompt_tokens": 40, "total_tokens": 40},
    }
)
STREAM_HEAD = head("text/event-stream", None)
#: The data of each event of a stream.
TEXTS = [
    event({"role": "assistant", "content": ""}),
    *(event({"content": f" {WORDS[i % 7]}"}) for i in range(CHUNKS)),
    event({}, "stop"),
    event({}, choices=[], usage=USAGE),
    "[DONE]",
]
EVENTS = [*map(framed, TEXTS[:-1]), framed(TEXTS[-1]) + b"0\r\n\r\n"]
BURST = STREAM_HEAD + b"".join(EVENTS)
GAP = re.compile(rb'"model":\s*"[^"]*-g(\d+)"')
STREAMED = re.compile(rb'"stream":\s*true')


class Upstream(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.body = bytearray()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = bytes(self.body), bytearray()
        if self.url.endswith(b"/embeddings"):
            self.transport.write(EMBEDDING)
        elif not STREAMED.search(body):
            self.transport.write(CHAT)
        elif gap := GAP.search(body):
            self.transport.write(STREAM_HEAD + EVENTS[0])
            self.tick(1, int(gap[1]) / 1e6)
        else:
            self.transport.write(BURST)

    def tick(self, index: int, gap: float) -> None:
        if self.transport.is_closing():
            return
        if index > CHUNKS:
            self.transport.write(b"".join(EVENTS[index:]))
            return
        self.transport.write(EVENTS[index])
        asyncio.get_running_loop().call_later(gap, self.tick, index + 1, gap)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=9100)
    uvloop.run(serve(arguments.parse_args().port))
