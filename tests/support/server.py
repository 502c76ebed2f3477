"""The real server as a process: started, killed, restarted, and asked through its own HTTP surface."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.support.ports import own_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.support.provider_server import ProviderServer

START_SECONDS = 90


class RunningServer:
    """One `mainspring serve` in a folder of its own.

    Args:
        folder: working folder; `mainspring.toml`, the log and everything the server makes end up there.
        config: the text of `mainspring.toml`.
        database: URL of the database; empty for SQLite in the folder.
        env: more environment variables.
        workers: server processes.
    """

    def __init__(
        self,
        folder: Path,
        config: str = "",
        *,
        database: str = "",
        env: Mapping[str, str] | None = None,
        workers: int = 1,
    ) -> None:
        self.folder = folder
        self.admin_key = f"ms-{secrets.token_urlsafe(30)}"
        self.port = own_port()
        self._workers = workers
        kept = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_START")
            if name in os.environ
        }
        self._env = {**kept, "MAINSPRING_ADMIN_KEY": self.admin_key, "PYTHONUNBUFFERED": "1", **(env or {})}
        if database:
            self._env["MAINSPRING_STORAGE__DATABASE"] = database
        self._process: subprocess.Popen[bytes] | None = None
        self._client: httpx2.Client | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mainspring.toml").write_text(config, "utf-8")

    @property
    def url(self) -> str:
        """The root, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the server (of the parent, when there are several workers)."""
        assert self._process is not None
        return self._process.pid

    @property
    def client(self) -> httpx2.Client:
        """An HTTP client that carries the admin key."""
        if self._client is None:
            headers = {"authorization": f"Bearer {self.admin_key}"}
            self._client = httpx2.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)
        return self._client

    def start(self, *, wait: bool = True) -> None:
        """Start the process; with `wait` return when it is ready.

        Raises:
            AssertionError: it ended or is not ready in time; the message quotes its log.
        """
        command = [
            sys.executable,
            "-m",
            "mainspring",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        command += ["--workers", str(self._workers)]
        if (setpriv := shutil.which("setpriv")) is not None:
            # Where the tests themselves are killed, the server must not live on.
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until `/readyz` answers 200."""
        assert self._process is not None
        limit = time.monotonic() + seconds
        while True:
            try:
                if httpx2.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            assert self._process.poll() is None, (
                f"the server ended with {self._process.poll()}:\n{self.log()}"
            )
            assert time.monotonic() < limit, f"the server is not ready after {seconds} s:\n{self.log()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, to the server and its workers and nobody else; returns when they are gone."""
        self._end(signal.SIGKILL, 30)

    def stop(self, seconds: float = 60) -> int:
        """SIGTERM; returns the exit code. A server that does not stop in time is killed, and that is an error."""
        return self._end(signal.SIGTERM, seconds)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the server process alone."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Wait for the end of the process; returns its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `mainspring` with these arguments beside the server, in its folder and with its environment."""
        command = [sys.executable, "-m", "mainspring", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self._env, capture_output=True, text=True, check=False, timeout=180
        )

    def restart(self) -> None:
        """Stop and start again, on the same port, folder and key."""
        self.stop()
        self.start()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """Everything that it printed so far."""
        return (self.folder / "server.log").read_text("utf-8", "replace")

    def close(self) -> None:
        """End it if it still runs, and let go of the client."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self.running:
            self.stop()

    def create_key(self, name: str = "test", tenant: str = "acme", **fields: Any) -> str:
        """The secret of a new member key."""
        answer = self.client.post("/api/v1/keys", json={"name": name, "tenant": tenant, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    def row(self, request_id: str) -> dict[str, Any]:
        """The ledger row of an answer."""
        answer = self.client.get(f"/api/v1/ledger/{request_id}")
        assert answer.status_code == 200, answer.text
        row: dict[str, Any] = answer.json()
        return row

    def rows(self, **filters: str | int) -> list[dict[str, Any]]:
        """All ledger rows that fit, newest first, page after page."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            query = {"limit": 200, **filters} | ({"after": after} if after else {})
            answer = self.client.get("/api/v1/ledger", params=query)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["items"]
            after = page["next"]
            if after is None:
                return found

    def wait_rows(self, count: int, seconds: float = 30, **filters: str) -> list[dict[str, Any]]:
        """Wait until so many rows fit: what nobody waits for is recorded a moment later.

        Raises:
            AssertionError: they are not there in time.
        """
        limit = time.monotonic() + seconds
        while True:
            rows = self.rows(**filters)
            if len(rows) >= count:
                return rows
            assert time.monotonic() < limit, f"{len(rows)} of {count} rows with {filters}"
            time.sleep(0.05)

    def _end(self, number: signal.Signals, seconds: float) -> int:
        process = self._process
        assert process is not None
        if process.poll() is None:
            # Its own session: a SIGKILL must reach the workers too, a SIGTERM is the parent's to hand on.
            if number is signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            raise AssertionError(f"the server did not stop within {seconds} s:\n{self.log()}") from None


def provider_config(provider_url: str, *, first_token: float = 15, idle: float = 4, total: float = 30) -> str:
    """A configuration whose providers are all the scripted one: both wires, chat only, and one that is away."""
    return f"""
[server]
keepalive_seconds = 0.25
drain_seconds = 5

[defaults.timeouts]
connect = 10
first_token = {first_token}
idle = {idle}
total = {total}

[defaults.retry]
backoff = 0.02

[providers.openai]
api = "openai"
base_url = "{provider_url}/v1"
api_keys = ["sk-upstream-openai"]

[providers.anthropic]
api = "anthropic"
base_url = "{provider_url}"
api_keys = ["sk-upstream-anthropic"]

[providers.chatonly]
api = "openai"
base_url = "{provider_url}/v1"
api_keys = ["sk-upstream-chatonly"]
operations = ["chat"]

[providers.away]
api = "openai"
base_url = "http://127.0.0.1:{own_port()}/v1"
api_keys = ["sk-upstream-away"]

[models."openai/priced"]
input_usd_per_mtok = 1.0
cache_read_usd_per_mtok = 0.1
output_usd_per_mtok = 2.0

[models."anthropic/priced"]
input_usd_per_mtok = 1.0
cache_read_usd_per_mtok = 0.1
cache_write_usd_per_mtok = 1.25
output_usd_per_mtok = 2.0

[routes.default]
targets = ["openai/test", "anthropic/test"]

[routes.pair]
targets = ["openai/pair-first", "anthropic/pair-second"]

[routes.quick]
targets = ["openai/quick-first", "openai/quick-second"]
[routes.quick.timeouts]
first_token = 1.2
idle = 1.2
total = 3
"""


@contextmanager
def running(server: RunningServer) -> Iterator[RunningServer]:
    """Start a server, and end it whatever happens."""
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def start_server(tmp_path: Path, provider: ProviderServer) -> Iterator[Callable[..., RunningServer]]:
    """A factory of servers that end with the test.

    `start_server(config=None, *, name="server", wait=True, **RunningServer arguments)`; without a configuration the
    providers are the scripted one. Two servers with one name share a folder.
    """
    servers: list[RunningServer] = []

    def start(
        config: str | None = None, *, name: str = "server", wait: bool = True, **rest: Any
    ) -> RunningServer:
        text = provider_config(provider.url) if config is None else config
        server = RunningServer(tmp_path / name, text, **rest)
        servers.append(server)
        server.start(wait=wait)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer) -> Iterator[RunningServer]:
    """One server on SQLite with the scripted providers, shared by all tests that do not end it."""
    with running(RunningServer(tmp_path_factory.mktemp("server"), provider_config(provider.url))) as shared:
        yield shared


@pytest.fixture(scope="session")
def member_key(server: RunningServer) -> str:
    """A key of an ordinary member of tenant `acme` on the shared server."""
    return server.create_key()
