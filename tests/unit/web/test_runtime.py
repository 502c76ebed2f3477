"""The rooms of a process, and what a new configuration changes while it runs."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from tests.support.gateway import ANSWER
from tests.support.loopback import loopback, response

from mainspring.base.settings import Settings, load
from mainspring.providers.known import KNOWN
from mainspring.web.http1 import Request
from mainspring.web.runtime import Runtime
from mainspring.web.surfaces import Surfaces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.loopback import Visit

KEY = "ms-" + "k" * 40


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for known in KNOWN.values():
        for name in (known.key_variable, known.url_variable):
            if name:
                monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAINSPRING_ADMIN_KEY", KEY)
    return tmp_path


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with capture_logs() as events:
        yield events


def write(folder: Path, port: int, *, route: str = "first", key: str = "sk-1", more: str = "") -> Path:
    file = folder / "mainspring.toml"
    file.write_text(
        f'[providers.up]\nbase_url = "http://127.0.0.1:{port}/v1"\napi_keys = ["{key}"]\n'
        f'[routes.{route}]\ntargets = ["up/m"]\n{more}'
    )
    return file


@asynccontextmanager
async def running(file: Path) -> AsyncIterator[Runtime]:
    runtime = await Runtime.open(load(file), file=file)
    try:
        yield runtime
    finally:
        await runtime.close()


class Answer:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.status = 0
        self.parts: list[bytes] = []

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status

    async def write(self, data: bytes, *, last: bool = False) -> None:
        self.parts.append(data)

    def when_gone(self, tell: Callable[[], None] | None) -> None:
        """Nobody leaves."""


async def ask(runtime: Runtime, model: str, **more: Any) -> tuple[int, bytes]:
    """One request through the surfaces, as a connection would bring it."""
    request = Request(b"POST", b"/v1/chat/completions", [(b"authorization", f"Bearer {KEY}".encode())])
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
    request.parts.append(json.dumps(body).encode())
    request.size = len(request.parts[0])
    answer = Answer()
    await Surfaces(runtime).answer(request, answer)
    return answer.status, b"".join(answer.parts)


async def answering(visit: Visit) -> None:
    while await visit.request():
        await visit.send(response(ANSWER, "content-type: application/json"))


async def test_a_new_route_is_in_force_after_a_reload(folder: Path) -> None:
    async with loopback(answering) as up, running(write(folder, up.port)) as runtime:
        assert (await ask(runtime, "first"))[0] == 200
        assert (await ask(runtime, "second"))[0] == 404
        before = runtime.config_hash
        assert not await runtime.reload()
        write(folder, up.port, route="second")
        assert await runtime.reload()
        assert runtime.config_hash != before
        assert (await ask(runtime, "first"))[0] == 404
        assert (await ask(runtime, "second"))[0] == 200
        assert await runtime.ledger.config(before) is not None
        assert await runtime.ledger.config(runtime.config_hash) is not None


@pytest.mark.parametrize(
    "broken",
    [
        "[routes",
        "[routes.second]\ntargets = []\n",
        '[routes.second]\ntargets = ["nowhere/m"]\n',
        '[providers.bad]\nbase_url = "http://host:99999"\n',
        '[providers.bad]\nbase_url = "http://host"\nheaders = { x = "a\\nb" }\n',
        "[server]\nprot = 1\n",
    ],
)
async def test_a_broken_edit_keeps_what_there_was_and_says_so(
    folder: Path, broken: str, log: list[Any]
) -> None:
    async with loopback(answering) as up, running(write(folder, up.port)) as runtime:
        gateway, config = runtime.gateway, runtime.config_hash
        write(folder, up.port, more=broken)
        assert not await runtime.reload()
        assert (runtime.gateway, runtime.config_hash) == (gateway, config)
        assert (await ask(runtime, "first"))[0] == 200
        assert [event["event"] for event in log if event["log_level"] == "error"] == ["configuration_kept"]
        write(folder, up.port, route="mended")
        assert await runtime.reload()
        assert (await ask(runtime, "mended"))[0] == 200


async def test_a_key_that_was_replaced_is_a_change_too(folder: Path) -> None:
    seen = []

    async def noting(visit: Visit) -> None:
        while request := await visit.request():
            seen.append(b"Bearer sk-2" in request)
            await visit.send(response(ANSWER))

    async with loopback(noting) as up, running(write(folder, up.port)) as runtime:
        write(folder, up.port, key="sk-2")
        assert await runtime.reload()
        seen.clear()
        await ask(runtime, "first")
        assert seen[-1]
    secret = folder / "key"
    secret.write_text("sk-1")
    async with loopback(noting) as up, running(write(folder, up.port, key=f"file:{secret}")) as runtime:
        gateway = runtime.gateway
        secret.write_text("sk-2\n")
        assert not await runtime.reload()  # it is read again, and nothing else has changed
        assert runtime.gateway is gateway
        seen.clear()
        await ask(runtime, "first")
        assert seen[-1]


async def test_exchanges_under_way_finish_where_they_began(folder: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(visit: Visit) -> None:
        while request := await visit.request():
            if b"POST" in request:
                begun.set()
                await go_on.wait()
            await visit.send(response(ANSWER))

    async with loopback(slow) as old, loopback(answering) as new, running(write(folder, old.port)) as runtime:
        before = runtime.gateway
        asking = asyncio.create_task(ask(runtime, "first"))
        await asyncio.wait_for(begun.wait(), 30)
        write(folder, new.port)
        assert await runtime.reload()
        assert runtime.gateway is not before
        assert (await ask(runtime, "first"))[0] == 200
        assert len(before.watch) == 1
        go_on.set()
        assert (await asking)[0] == 200
        assert len(before.watch) == 0


async def test_closing_while_an_old_gateway_is_still_at_work_closes_both(folder: Path) -> None:
    begun = asyncio.Event()

    async def silent(visit: Visit) -> None:
        while request := await visit.request():
            if b"POST" in request:
                begun.set()
                await old.until_gone(visit)
            else:
                await visit.send(response(b'{"data":[]}'))

    async with loopback(silent) as old, loopback(answering) as new:
        async with running(write(folder, old.port)) as runtime:
            asking = asyncio.create_task(ask(runtime, "first"))
            await asyncio.wait_for(begun.wait(), 30)
            write(folder, new.port)
            assert await runtime.reload()
        await asyncio.wait_for(old.gone.wait(), 30)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_limits_follow_a_reload(folder: Path) -> None:
    async with loopback(answering) as up, running(write(folder, up.port)) as runtime:
        assert (await ask(runtime, "first", pad="x" * 1_500_000))[0] == 200
        write(folder, up.port, more="[server]\nmax_body_mb = 1\n")
        assert await runtime.reload()
        assert (await ask(runtime, "first", pad="x" * 1_500_000))[0] == 413


async def test_a_command_opens_no_providers(folder: Path) -> None:
    file = write(folder, 9)
    runtime = await Runtime.open(load(file), serve=False)
    assert not hasattr(runtime, "gateway")
    await runtime.close()


#: Other values for everything that a process reads once.
OTHERS: dict[str, object] = {
    "admin_key": "ms-" + "o" * 40,
    "server.host": "::1",
    "server.port": 1,
    "server.workers": 2,
    "server.notice_seconds": 1,
    "server.drain_seconds": 1,
    "storage.database": "sqlite:///other.db",
    "storage.shared": "redis://127.0.0.1:1",
    "storage.shared_timeout_ms": 1,
    "storage.blobs": "file://other",
    "storage.sync": "full",
    "ledger.durability": "relaxed",
    "ledger.queue_rows": 1,
    "ledger.inline_kb": 1,
    "ledger.wait_seconds": 1,
    "telemetry.sentry_dsn": "https://key@127.0.0.1/1",
}
#: What of the process itself a reload puts in force.
LIVE = {
    "server.max_body_mb",
    "server.keepalive_seconds",
    "ledger.payloads",
    "logging.level",
    "logging.format",
    "telemetry.metrics_public",
    "secrets.reread_seconds",
    "secrets.old_days",
}


def test_every_setting_of_the_process_is_live_or_read_at_start() -> None:
    sections = ("server", "storage", "ledger", "logging", "telemetry", "secrets")
    every = {f"{name}.{key}" for name in sections for key in getattr(Settings(), name).model_dump()}
    assert set(Settings().at_start()) == set(OTHERS)
    assert every == {*OTHERS, *LIVE} - {"admin_key"}


async def test_what_needs_a_restart_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MAINSPRING_ADMIN_KEY")
    file = write(folder, 1)
    async with running(file) as runtime:
        tables: dict[str, list[str]] = {}
        for place, value in OTHERS.items():
            section, _, key = place.rpartition(".")
            tables.setdefault(section, []).append(f"{key} = {json.dumps(value)}")
        text = "".join(f"[{name}]\n" * bool(name) + "\n".join(keys) + "\n" for name, keys in tables.items())
        file.write_text(text + file.read_text("utf-8"), "utf-8")
        assert await runtime.reload()
        log = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        told = next(event for event in log if event["event"] == "configuration_needs_restart")
        assert sorted(told["settings"]) == sorted(OTHERS)
        assert "Restart" in told["remedy"]
        assert runtime.limits.status().shared.kind == "memory"
        write(folder, 1)
        assert await runtime.reload()
        assert "configuration_needs_restart" not in capsys.readouterr().err


def test_a_process_that_starts_later_reads_what_the_others_read() -> None:
    edited = Settings().started_with(OTHERS)
    assert edited.at_start() == OTHERS
    assert edited.started_with(Settings().at_start()) == Settings()
