"""A connection that breaks while Postgres commits: what was written is there once, and whoever wrote it is told so."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from mainspring.keys import KeyRing
from mainspring.store import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mainspring.store import Connection


class Proxy:
    """Stands before a server and breaks the next connection that says COMMIT, `before` or `after` the server hears it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._folder = parse_qs(parts.query).get("host", [""])[0]
        self._port = parse_qs(parts.query).get("port", [str(parts.port or 5432)])[0]
        self._host = parts.hostname
        self._listening = socket.create_server(("127.0.0.1", 0))
        user = (
            f"{quote(parts.username or '')}{f':{parts.password}' if parts.password else ''}@"
            if parts.username
            else ""
        )
        port = self._listening.getsockname()[1]
        self.url = f"postgresql://{user}127.0.0.1:{port}{parts.path}?sslmode=disable&gssencmode=disable"
        self.broken = 0
        self.breaks: str | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller = self._listening.accept()[0]
                threading.Thread(target=self._serve, args=(caller, self._connected()), daemon=True).start()

    def _connected(self) -> socket.socket:
        if self._folder:
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._folder}/.s.PGSQL.{self._port}")
            return server
        return socket.create_connection((self._host, int(self._port)))

    def _serve(self, caller: socket.socket, server: socket.socket) -> None:
        mute = threading.Event()
        answering = threading.Thread(target=self._answer, args=(caller, server, mute), daemon=True)
        answering.start()
        with suppress(OSError):
            while data := caller.recv(1 << 16):
                when = self.breaks if b"COMMIT" in data else None
                if when is not None:
                    self.breaks, self.broken = None, self.broken + 1
                    mute.set()
                if when != "before":
                    server.sendall(data)
                if when is not None:
                    break
        if mute.is_set():
            with suppress(OSError):
                server.shutdown(socket.SHUT_WR)  # it reads what it got, commits, and leaves
            answering.join(10)
        caller.close()
        server.close()

    def _answer(self, caller: socket.socket, server: socket.socket, mute: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if not mute.is_set():
                    caller.sendall(data)


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    made = Proxy(postgres_url)
    yield made
    made.close()


def count(connection: Connection) -> int:
    connection.run(
        "INSERT INTO versions (name, value) VALUES ('n', 1) ON CONFLICT (name) DO UPDATE SET value = versions.value + 1"
    )
    row = connection.one("SELECT value FROM versions WHERE name = 'n'")
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("breaks", ["before", "after"])
async def test_a_transaction_is_done_once(proxy: Proxy, breaks: str) -> None:
    database = await open_database(proxy.url)
    assert await database.write(count) == 1
    proxy.breaks = breaks
    assert await database.write(count) == 2
    assert proxy.broken == 1
    assert await database.read(lambda c: c.one("SELECT value FROM versions WHERE name = 'n'")) == (2,)
    await database.close()


@pytest.mark.parametrize("breaks", ["before", "after"])
async def test_a_key_is_made_once_and_its_secret_is_told(proxy: Proxy, breaks: str) -> None:
    database = await open_database(proxy.url)
    ring = KeyRing(database)
    old, _ = await ring.create(name="shop")
    proxy.breaks = breaks
    key, secret = await ring.rotate(old.id)
    assert proxy.broken == 1
    assert ring.check(secret).key_id == key.id
    assert [key.id, old.id] == [each.id for each in (await ring.list()).items]
    await database.close()
