"""What Sentry is sent, as its own client would send it to a server on loopback."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from mainspring.base.errors import ConfigError
from mainspring.base.sentry import start_sentry

pytest.importorskip("sentry_sdk", reason="the extra `sentry` is not installed")

PROGRAM = """
import sys
from mainspring.base import logging
from mainspring.base.sentry import start_sentry
logging.configure("info", "json")
start_sentry(sys.argv[1], release="1.2.3")
logging.request_id.set("the-id")
def work(prompt):
    raise ValueError("bad value sk-abcdefghijklmnopqrstuvwx")
try:
    work("tell nobody")
except ValueError:
    logging.get_logger("x").exception("unexpected_error")
import sentry_sdk
sentry_sdk.flush(5)
"""


def test_an_error_arrives_with_its_place_and_without_contents() -> None:
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            bodies.append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    dsn = f"http://public@127.0.0.1:{server.server_port}/1"
    subprocess.run([sys.executable, "-c", PROGRAM, dsn], check=True, capture_output=True, timeout=60)
    server.shutdown()
    server.server_close()
    text = b"\n".join(bodies).decode()
    event = next(json.loads(line) for line in text.splitlines() if '"exception"' in line)
    assert event["exception"]["values"][0]["type"] == "ValueError"
    assert event["exception"]["values"][0]["value"] == "bad value sk-***"
    assert event["release"] == "mainspring@1.2.3"
    assert event["tags"]["request_id"] == "the-id"
    assert "tell nobody" not in text
    assert "abcdefghijklmnopqrstuvwx" not in text


def test_what_is_no_dsn_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="not a Sentry DSN"):
        start_sentry("nonsense", release="1")
