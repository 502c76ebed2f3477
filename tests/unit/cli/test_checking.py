"""What `mainspring check` says of a provider that answers, but not as one."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def _answers(served: str, date: str) -> Iterator[str]:
    """A server that has models at one path; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200 if self.path == served else 404)
            self.send_header("date", date)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("path", "clock", "expected"),
    [
        ("/v1", "right", (True, False, "answers")),
        ("", "right", (False, False, "answers, but not there: its API is below /v1")),
        ("/v1", "of 1970", (True, True, "minutes ahead of its own")),
        ("/v2", "right", (True, False, "answers, but lists no models")),
    ],
)
def test_providers(
    mainspring: Callable[..., Any], tmp_path: Path, path: str, clock: str, expected: tuple[bool, bool, str]
) -> None:
    date = formatdate(0 if clock == "of 1970" else None, usegmt=True)
    with _answers("/v1/models", date) as url:
        (tmp_path / "mainspring.toml").write_text(f"[providers.p]\nbase_url = '{url}{path}'\n")
        found = next(i for i in mainspring("check", "--json").json["items"] if i["subject"] == "provider p")
    assert (found["works"], found["warns"]) == expected[:2]
    assert expected[2] in found["detail"]


def test_https_where_nobody_speaks_it(mainspring: Callable[..., Any], tmp_path: Path) -> None:
    with _answers("/v1/models", formatdate(usegmt=True)) as url:
        address = url.replace("http://", "https://")
        (tmp_path / "mainspring.toml").write_text(f"[providers.p]\nbase_url = '{address}/v1'\n")
        found = next(i for i in mainspring("check", "--json").json["items"] if i["subject"] == "provider p")
    assert found["detail"] == f"{address}/v1 cannot be reached: it does not speak TLS"
    assert found["remedy"] == f"If it speaks plain HTTP, write '{url}/v1'."
