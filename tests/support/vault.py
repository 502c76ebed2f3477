"""Vault on loopback, as far as reading secrets goes: version 2 of its KV engine over real HTTP, with versions in time.

No build of the real one is to be had from a package index; the answers are those of its documented API.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "hvs.test-token"


class VaultServer:
    """The server and what it holds.

    Attributes:
        status: what every request is answered with, if not 0: 503 is a sealed Vault.
        reads: reads so far, as path, namespace and token.
        renewals: tokens that were renewed so far.
        lease_seconds: for how long a renewed token is good; 0 for one that cannot be renewed.
    """

    def __init__(self) -> None:
        self.status = 0
        self.reads: list[tuple[str, str | None, str | None]] = []
        self.renewals: list[str | None] = []
        self.lease_seconds = 0
        self._deleted: set[str] = set()
        self._secrets: dict[str, tuple[dict[str, Any], int, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """What VAULT_ADDR is set to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(self, path: str, created: datetime | None = None, **fields: str) -> None:
        """Write a new version of a secret; `path` is the mount and the name, such as `secret/openai`."""
        version = self._secrets[path][1] + 1 if path in self._secrets else 1
        moment = (created or datetime.now(UTC)).isoformat().replace("+00:00", "123Z")
        self._secrets[path] = (fields, version, moment)

    def delete(self, path: str) -> None:
        """Delete the newest version of a secret."""
        self._deleted.add(path)

    def start(self) -> None:
        """Listen, on a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, path: str, token: str | None, namespace: str | None) -> tuple[int, dict[str, Any]]:
        """Status and document for a path of the API."""
        self.reads.append((path, namespace, token))
        if self.status:
            return self.status, {"errors": ["Vault is sealed"]}
        if token != TOKEN:
            return 403, {"errors": ["permission denied"]}
        mount, _, rest = path.removeprefix("/v1/").partition("/data/")
        found = self._secrets.get(f"{mount}/{rest}")
        if found is None:
            return 404, {"errors": []}
        fields, version, moment = found
        if f"{mount}/{rest}" in self._deleted:
            gone = {"created_time": moment, "version": version, "destroyed": False, "deletion_time": moment}
            return 404, {"request_id": "r", "data": {"data": None, "metadata": gone}}
        metadata = {"created_time": moment, "version": version, "destroyed": False, "deletion_time": ""}
        return 200, {"request_id": "r", "data": {"data": fields, "metadata": metadata}}

    def renew(self, path: str, token: str | None) -> tuple[int, dict[str, Any]]:
        """Status and document for a token that wants to be renewed."""
        if self.status:
            return self.status, {"errors": ["Vault is sealed"]}
        if path != "/v1/auth/token/renew-self" or token != TOKEN:
            return 403, {"errors": ["permission denied"]}
        if not self.lease_seconds:
            return 400, {"errors": ["lease is not renewable"]}
        self.renewals.append(token)
        auth = {"client_token": token, "lease_duration": self.lease_seconds, "renewable": True}
        return 200, {"request_id": "r", "auth": auth}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        vault = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, document = vault.answer(
                    self.path, self.headers.get("x-vault-token"), self.headers.get("x-vault-namespace")
                )
                self._send(status, document)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self._send(*vault.renew(self.path, self.headers.get("x-vault-token")))

            def _send(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def vault() -> Iterator[VaultServer]:
    """A Vault of one test."""
    server = VaultServer()
    server.start()
    yield server
    server.stop()
