"""Receivers of messages on loopback: an HTTP server that takes webhooks or does not, and a real mail server.

Both run on threads of their own, so that they serve tests with a loop and without.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections import deque
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

if TYPE_CHECKING:
    import ssl
    from email.message import EmailMessage
    from pathlib import Path

    from aiosmtpd.smtp import Envelope, Session

HANG_SECONDS = 60.0


class Hit(NamedTuple):
    """One request that came in."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class WebhookReceiver:
    """An HTTP server that answers POSTs as it is told: by default 204.

    Attributes:
        hits: every request, also those that were refused.
        script: how to answer the next ones: a status, a status with headers, or "hang".
        always: how to answer when the script is over.
    """

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.script: deque[Any] = deque()
        self.always: Any = 204
        self._ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.hits.append(Hit(self.path, headers, body, time.monotonic()))
                answer = receiver.script.popleft() if receiver.script else receiver.always
                if answer == "hang":
                    receiver._ended.wait(HANG_SECONDS)
                    self.close_connection = True
                    return
                status, extra = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook?token=t-0ken"

    def alerts(self) -> list[dict[str, Any]]:
        """Everything that messages told, oldest first; doubles of one message once."""
        messages = {hit.headers["webhook-id"]: hit.document for hit in self.hits}
        return [alert for message in messages.values() for alert in message["data"]["alerts"]]

    def wait(self, count: int, seconds: float = 40) -> list[Hit]:
        """Wait for so many requests.

        Raises:
            AssertionError: they do not come in time.
        """
        limit = time.monotonic() + seconds
        while len(self.hits) < count:
            assert time.monotonic() < limit, f"{len(self.hits)} of {count} messages came"
            time.sleep(0.02)
        return list(self.hits)

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _AnyPort(Controller):
    """On a port that the system chooses."""

    def _trigger_server(self) -> None:
        """aiosmtpd asks itself whether it has started at the port that it was given, and 0 is none."""
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


class MailReceiver:
    """A mail server that keeps what it accepts.

    Args:
        tls: for connections that are protected from the start, or by STARTTLS with `starttls`.
        starttls: whether protection begins with a command.
        user: name and password without which nothing is accepted.

    Attributes:
        mails: accepted ones.
        script: answers to the next mails in place of accepting them, such as "451 later".
        unknown: addresses that nobody has here.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        starttls: bool = False,
        user: tuple[str, str] | None = None,
    ) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.script: deque[str] = deque()
        self.unknown: set[str] = set()
        options: dict[str, Any] = {}
        if user is not None:
            expected = (user[0].encode(), user[1].encode())

            def check(
                _server: SMTP, _session: Session, _envelope: Envelope, _kind: str, data: Any
            ) -> AuthResult:
                return AuthResult(success=(data.login, data.password) == expected, handled=False)

            options = {"authenticator": check, "auth_required": True, "auth_require_tls": starttls}
        if tls is not None and starttls:
            options |= {"tls_context": tls, "require_starttls": True}
        self._controller = _AnyPort(
            self, hostname="127.0.0.1", port=0, ssl_context=None if starttls else tls, **options
        )
        self._controller.start()

    @property
    def port(self) -> int:
        return int(self._controller.port)

    async def handle_RCPT(  # noqa: N802 - the name that aiosmtpd calls
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """aiosmtpd's hook for a recipient."""
        if address in self.unknown:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 accepted"

    async def handle_DATA(  # noqa: N802 - the name that aiosmtpd calls
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """aiosmtpd's hook for a mail."""
        if self.script:
            return self.script.popleft()
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 accepted"

    def close(self) -> None:
        self._controller.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost and 127.0.0.1 that nobody vouches for, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), *names, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key
