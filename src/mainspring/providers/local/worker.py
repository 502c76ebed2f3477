"""The child process around one language model: reads requests from a socket, writes what the engine says.

It is run as a file, not imported, so that it costs the memory of the engine and nothing else. It knows llama.cpp and the
frames below; what a request means and how an answer reads is decided in the parent.

A frame is a header (length of the payload, number of the request, kind of one byte; little-endian) and a payload:

    parent to child   C chat   T text completion   N count tokens   X cancel
    child to parent   R ready  S started  D piece of an answer (engine JSON)  E ended  F failed (JSON)

The child ends when the socket does: a parent that was killed leaves nothing behind.
"""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import struct
import sys
import threading
from typing import Any

HEADER = struct.Struct("<IIc")
#: Prompt tokens between two looks at whether the request was cancelled. On a processor a half-billion model takes up to
#: 0.14 s for 8 of them, and 0.25 s for 16: a cancel, or another chat's next token, is promised within 0.2 s. Against
#: 512 it costs about a third of the reading speed, against 16 a tenth to fifth; 10 or 12 cost as much as 8.
PROMPT_BATCH = 8
#: The smallest models are fast enough for twice that, and graphics processors for all of it.
PROMPT_BATCH_SMALL, SMALL_BYTES = 32, 200_000_000
PROMPT_BATCH_GPU = 512
#: Memory for prompts of earlier chats, in MiB; llama.cpp alone would take up to 8 GiB.
PROMPT_CACHE_MIB = 128
_PROBE = "mainspring_probe_tool"


class Channel:
    """The socket to the parent; writing is safe from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._reader = connection.makefile("rb")
        self._socket = connection
        self._lock = threading.Lock()

    def read(self) -> tuple[int, bytes, bytes] | None:
        """The next request: its number, kind and payload; None when the parent is gone."""
        header = self._reader.read(HEADER.size)
        if len(header) < HEADER.size:
            return None
        length, number, kind = HEADER.unpack(header)
        return number, kind, self._reader.read(length)

    def write(self, number: int, kind: bytes, payload: bytes = b"") -> None:
        """Send one frame."""
        with self._lock:
            self._socket.sendall(HEADER.pack(len(payload), number, kind) + payload)

    def fail(self, number: int, error: dict[str, Any]) -> None:
        """Send an error in llama.cpp's form: `code`, `type`, `message`."""
        self.write(number, b"F", json.dumps(error).encode())


class Engine:
    """llama.cpp with one model.

    Args:
        options: `path`, `context_tokens` (per chat), `parallel`, `threads`.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        import xllamacpp  # noqa: PLC0415 - its absence or its missing libgomp is reported to the parent

        params = xllamacpp.CommonParams()
        params.model.path = options["path"]
        params.n_ctx = options["context_tokens"] * options["parallel"]
        params.n_parallel = options["parallel"]
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options["threads"]
        params.n_batch = params.n_ubatch = _prompt_batch(xllamacpp, options["path"])
        params.cache_ram_mib = PROMPT_CACHE_MIB
        params.verbosity = -1
        # The engine always opens a port on loopback; only this process knows its key.
        self._key = secrets.token_urlsafe(32)
        params.api_keys = [self._key]
        params.port = 0
        params.n_threads_http = 2
        params.ui = False
        params.endpoint_slots = False
        self._server = xllamacpp.Server(params)
        self._running: set[int] = set()
        self._cancelled: set[int] = set()

    def start(self, number: int, kind: bytes, payload: bytes, channel: Channel) -> None:
        """Answer one request in a thread of its own: the engine's call blocks until the answer is whole."""
        self._running.add(number)
        threading.Thread(target=self._run, args=(number, kind, payload, channel), daemon=True).start()

    def cancel(self, number: int) -> None:
        """Stop a request at its next piece, or before it begins. One that has ended needs nothing."""
        if number in self._running:
            self._cancelled.add(number)

    def _run(self, number: int, kind: bytes, payload: bytes, channel: Channel) -> None:
        try:
            failure = self._answer(number, kind, payload, channel)
        except Exception as error:  # noqa: BLE001 - whatever native code raises, the parent must hear of an end
            failure = {"code": 400, "type": "rejected", "message": str(error)}
        self._running.discard(number)
        self._cancelled.discard(number)
        channel.write(number, b"E") if failure is None else channel.fail(number, failure)

    def _answer(self, number: int, kind: bytes, payload: bytes, channel: Channel) -> dict[str, Any] | None:
        """Send the pieces of an answer; returns the error with which the engine ended it, if it did."""
        failure: dict[str, Any] | None = None
        started = False

        def piece(data: bytes) -> bool:
            nonlocal failure, started
            if number in self._cancelled:
                return True
            if data.startswith(b'{"error":'):
                failure = json.loads(data)["error"]
                return True
            if not started:
                started = True
                channel.write(number, b"S")
            # Inside a JSON string the quotes would be escaped, so this finds only the engine's own field.
            if b'"prompt_progress":' not in data:
                channel.write(number, b"D", data)
            return False

        if kind == b"N":
            channel.write(number, b"D", json.dumps(self._count(json.loads(payload))).encode())
        elif kind == b"C" and number not in self._cancelled:
            self._server.handle_chat_completions(payload, piece)
        elif number not in self._cancelled:
            self._server.handle_completions(payload, piece)
        return failure

    def facts(self) -> dict[str, Any]:
        """What the parent wants to know of the loaded model: its context, and whether its template shows tools."""
        tool = {
            "type": "function",
            "function": {"name": _PROBE, "description": "", "parameters": {"type": "object"}},
        }
        message = {"role": "user", "content": "x"}
        shown = self._post("/apply-template", {"messages": [message], "tools": [tool]}).get("prompt", "")
        models = self._request("GET", "/v1/models", None)["data"]
        return {"context_tokens": models[0]["meta"]["n_ctx"], "tools": _PROBE in shown}

    def _count(self, body: dict[str, Any]) -> int:
        text = body.get("text")
        if text is None:
            text = self._post("/apply-template", body)["prompt"]
        answer = self._post("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        return len(answer["tokens"])

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._request("POST", path, json.dumps(body).encode())

    def _request(self, method: str, path: str, body: bytes | None) -> Any:
        host, _, port = self._server.listening_address.removeprefix("http://").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = json.loads(connection.getresponse().read())
        if "error" in answer:
            raise ValueError(answer["error"].get("message", "the engine refused"))
        return answer


def _prompt_batch(xllamacpp: Any, path: str) -> int:
    kinds = xllamacpp.ggml_backend_dev_type
    gpus = (kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU)
    if any(device["type"] in gpus for device in xllamacpp.get_device_info()):
        return PROMPT_BATCH_GPU
    return PROMPT_BATCH_SMALL if os.path.getsize(path) < SMALL_BYTES else PROMPT_BATCH  # noqa: PTH202 - pathlib is not loaded here


def main() -> None:
    """Load the model that the parent names, say so, and serve until the parent hangs up."""
    # The parent decides when to stop; a signal sent to the whole process group must not cut answers that it drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(2)  # The parent relays other people's answers; its turn comes first.
    options = json.loads(sys.argv[1])
    channel = Channel(socket.socket(fileno=options["descriptor"]))
    try:
        engine = Engine(options)
        channel.write(0, b"R", json.dumps(engine.facts()).encode())
    except (ImportError, ValueError, RuntimeError, OSError, LookupError) as error:
        channel.fail(0, {"code": 500, "type": type(error).__name__, "message": str(error)})
        os._exit(1)
    while (frame := channel.read()) is not None:
        number, kind, payload = frame
        if kind == b"X":
            engine.cancel(number)
        else:
            engine.start(number, kind, payload, channel)
    # Not a normal exit: that would wait for running generations.
    os._exit(0)


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)
