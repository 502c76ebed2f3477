"""A server on loopback that answers real clients with translated bytes, and provider conversations to translate."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from mainspring.providers.sse import format_event, parse_events
from mainspring.providers.translate import translation
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

PATHS = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETIONS,
    "/v1/responses": Operation.RESPONSES,
    "/v1/messages": Operation.MESSAGES,
}


class Gateway:
    """Translates what a client sends, answers with what the test laid down as the provider's words.

    Attributes:
        url: the root, without `/v1`.
        sent: the requests as the provider would have got them.
        answer: the provider's whole answer, or the events of its stream.
    """

    def __init__(self, provider: Operation) -> None:
        self.provider = provider
        self.sent: list[dict[str, Any]] = []
        self.answer: dict[str, Any] | list[dict[str, Any]] = {}
        self.url = ""
        self.model = "claude-sonnet-4-6" if provider is Operation.MESSAGES else "gpt-5-mini"

    def reply(self, path: str, body: bytes) -> tuple[str, bytes]:
        """Content type and bytes for a client's request."""
        pair = translation(PATHS[path.partition("?")[0]], self.provider)
        assert pair is not None
        self.sent.append(json.loads(pair.request(body, self.model)))
        if isinstance(self.answer, dict):
            return "application/json", pair.response(json.dumps(self.answer).encode(), requested=body)
        return "text/event-stream", stream(pair, body, events(self.answer))


def events(documents: list[dict[str, Any]]) -> bytes:
    """A provider's stream: named events where the documents have types, plain ones otherwise."""
    return b"".join(format_event(json.dumps(one).encode(), one.get("type", "")) for one in documents)


def stream(pair: Any, requested: bytes, provider: bytes) -> bytes:
    """A whole stream, translated."""
    translated = pair.stream(requested=requested)
    return b"".join([translated.feed(event) for event in parse_events(provider)]) + translated.end(None)


@contextlib.contextmanager
def serve(provider: Operation) -> Iterator[Gateway]:
    """Run a gateway on a free port."""
    gateway = Gateway(provider)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kind, data = gateway.reply(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    gateway.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chunk(delta: dict[str, Any], finish: str | None = None, **rest: Any) -> dict[str, Any]:
    """A chunk of a chat stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [choice], **rest}


def tool_delta(
    index: int, arguments: str, call_id: str | None = None, name: str | None = None
) -> dict[str, Any]:
    """A delta of one tool call."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    call: dict[str, Any] = {"index": index, "function": function}
    return {"tool_calls": [call | ({"id": call_id, "type": "function"} if call_id else {})]}


CHAT_USAGE = {
    "prompt_tokens": 50,
    "completion_tokens": 30,
    "total_tokens": 80,
    "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 12},
}

#: Reasoning, text and two tool calls whose arguments interleave.
CHAT_STREAM = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "Let me "}),
    chunk({"reasoning_content": "think."}),
    chunk({"content": "I'll look "}),
    chunk({"content": "that up."}),
    chunk(tool_delta(0, "", "call_a", "weather")),
    chunk(tool_delta(0, '{"city":')),
    chunk(tool_delta(1, '{"zone"', "call_b", "clock")),
    chunk(tool_delta(0, '"Paris"}')),
    chunk(tool_delta(1, ':"CET"}')),
    chunk({}, "tool_calls"),
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [],
        "usage": CHAT_USAGE,
    },
]

CHAT_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "I'll look that up.",
                "reasoning_content": "Let me think.",
                "tool_calls": [
                    {
                        "id": "call_a",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
                    },
                    {
                        "id": "call_b",
                        "type": "function",
                        "function": {"name": "clock", "arguments": '{"zone":"CET"}'},
                    },
                ],
            },
        }
    ],
    "usage": CHAT_USAGE,
}

MESSAGES_USAGE = {
    "input_tokens": 25,
    "cache_read_input_tokens": 20,
    "cache_creation_input_tokens": 5,
    "output_tokens": 30,
    "output_tokens_details": {"thinking_tokens": 12},
    "service_tier": "standard",
}

BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Let me think.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "aGlkZGVu"},
    {"type": "text", "text": "I'll look that up."},
    {"type": "tool_use", "id": "toolu_a", "name": "weather", "input": {"city": "Paris"}},
    {"type": "tool_use", "id": "toolu_b", "name": "clock", "input": {"zone": "CET"}},
]


def message(blocks: list[dict[str, Any]], stop_reason: str = "tool_use", **rest: Any) -> dict[str, Any]:
    """A whole message of Anthropic's."""
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": None}
    return {**head, "content": blocks, "stop_reason": stop_reason, "usage": MESSAGES_USAGE, **rest}


def message_stream(
    blocks: list[dict[str, Any]], stop_reason: str = "tool_use", **delta: Any
) -> list[dict[str, Any]]:
    """The events of a streamed message of Anthropic's, in small pieces and with a ping."""
    start = {**message([], stop_reason), "stop_reason": None, "usage": {**MESSAGES_USAGE, "output_tokens": 1}}
    result: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(blocks):
        empty = {
            "text": {"text": ""},
            "thinking": {"thinking": "", "signature": ""},
            "tool_use": {"input": {}},
        }
        shown = {**block, **empty.get(block["type"], {})}
        shown.pop("citations", None)
        result.append({"type": "content_block_start", "index": index, "content_block": shown})
        result += [{"type": "content_block_delta", "index": index, "delta": one} for one in _deltas(block)]
        result.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": stop_reason, "stop_sequence": None, **delta}
    result.append(
        {
            "type": "message_delta",
            "delta": end,
            "usage": {
                "output_tokens": MESSAGES_USAGE["output_tokens"],
                "output_tokens_details": {"thinking_tokens": 12},
            },
        }
    )
    return [*result, {"type": "message_stop"}]


def _deltas(block: dict[str, Any]) -> list[dict[str, Any]]:
    match block["type"]:
        case "text":
            notes = [{"type": "citations_delta", "citation": note} for note in block.get("citations") or []]
            return [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])] + notes
        case "thinking":
            told = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(block["thinking"])]
            return [*told, {"type": "signature_delta", "signature": block["signature"]}]
        case "tool_use" | "server_tool_use":
            text = json.dumps(block["input"]) if block["input"] else ""
            return [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *_pieces(text)]]
        case _:
            return []


def _pieces(text: str, size: int = 5) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]
