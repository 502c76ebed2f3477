"""What stands in for a model when no target answers."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import ANSWER, DONE, HELLO, STOP, USAGE, ScriptedProvider, Step, bench

from mainspring.base.errors import ConfigError, ProviderRefused, ProviderUnreachable
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STREAM: list[Step] = [HELLO, STOP, USAGE, DONE]
AWAY = ProviderUnreachable("one cannot be reached.")
SORRY: Any = {"fallback": {"message": "We are sorry."}, "retry": {"attempts": 1}}

HEURISTICS = """
import asyncio, threading, time

over = threading.Event()

def echo(request):
    assert request.tenant == "acme" and request.user == "ann" and request.error == "provider_unreachable"
    return f"{request.operation}: {request.body['messages'][0]['content']} ({request.model})"

async def later(request):
    await asyncio.sleep(0.05)
    return "later"

def nothing(request):
    return None

def broken(request):
    raise RuntimeError(request.body)

def number(request):
    return 7

def slow(request):
    over.wait(120)
    return "too late"

def steady(request):
    time.sleep(0.3)
    return "in time"

def leaving(request):
    raise SystemExit(3)

def giving_up(request):
    raise asyncio.CancelledError

def half(request):
    return "a \\ud800 b"

not_a_function = 3
"""


@pytest.fixture(autouse=True)
def heuristics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_heuristics.py").write_text(HEURISTICS)
    monkeypatch.chdir(tmp_path)
    yield
    module = sys.modules.pop("own_heuristics", None)
    if module is not None:
        module.over.set()
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


async def test_a_fixed_message() -> None:
    async with bench(ScriptedProvider("one", [AWAY]), route=SORRY) as at:
        sink, exchange = await at.ask()
        answer = json.loads(sink.body)
        assert sink.status == 200
        assert answer["choices"][0]["message"]["content"] == "We are sorry."
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["total_tokens"] == 0
        assert sink.headers[b"x-mainspring-degraded"] == b"message"
        assert sink.headers[b"x-mainspring-attempts"] == b"1"
        assert b"x-mainspring-provider" not in sink.headers
        (row,) = at.ledger.rows
        assert (row.status, row.error, row.provider, row.cost_nusd) == (200, None, None, 0)
        assert row.extra == {"degraded": "message"}
        assert [attempt.outcome for attempt in row.attempts] == ["unreachable"]
        assert exchange.degraded == "message"
        numbers = at.gateway._meter.render()[0].decode()
        assert 'degraded_answers_total{by="message",route="default"} 1' in numbers


async def test_a_fixed_message_as_a_stream() -> None:
    async with bench(ScriptedProvider("one", [AWAY]), route=SORRY) as at:
        sink, _ = await at.ask(stream=True)
        assert sink.status == 200
        assert sink.body.endswith(DONE)
        chunks = [json.loads(event[6:]) for event in sink.body.split(b"\n\n")[:-2]]
        assert (
            "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "We are sorry."
        )
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
        assert at.ledger.rows[0].extra == {"degraded": "message"}
        assert at.ledger.rows[0].usage_source is None


@pytest.mark.parametrize("stream", [False, True])
async def test_in_anthropics_words(stream: bool) -> None:
    async with bench(ScriptedProvider("one", [AWAY]), route=SORRY) as at:
        sink, _ = await at.ask(operation=Operation.MESSAGES, stream=stream, max_tokens=9)
        if stream:
            assert b'"text":"We are sorry."' in sink.body
            assert b"event: message_stop" in sink.body
        else:
            assert json.loads(sink.body)["content"] == [{"type": "text", "text": "We are sorry."}]


async def test_where_no_text_is_an_answer_the_error_stays() -> None:
    async with bench(ScriptedProvider("one", [AWAY]), route=SORRY) as at:
        sink, _ = await at.ask(operation=Operation.EMBEDDINGS, input="x")
        assert sink.status == 502
        assert b"x-mainspring-degraded" not in sink.headers


async def test_what_is_the_callers_fault_stays_an_error() -> None:
    error = ProviderRefused("no", upstream_status=400, upstream_body=b"{}")
    async with bench(ScriptedProvider("one", [error]), route=SORRY) as at:
        assert (await at.ask())[0].status == 400


async def test_an_answer_that_nobody_keeps_stays_an_error() -> None:
    gone = ProviderRefused("no", upstream_status=400, upstream_type="previous_response_not_found")
    one, two = ScriptedProvider("one", [gone]), ScriptedProvider("two", [gone])
    async with bench(one, two, route=SORRY) as at:
        sink, _ = await at.ask()
        assert (sink.status, len(two.calls)) == (400, 0)
    async with bench(one, two, route={**SORRY, "retry": {}}) as at:
        sink, _ = await at.ask()
        assert (sink.status, len(two.calls)) == (400, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_another_route(stream: bool) -> None:
    one, two = ScriptedProvider("one", [AWAY]), ScriptedProvider("two", STREAM if stream else [ANSWER])
    routes: Any = {
        "default": {"targets": ["one/m"], "fallback": {"route": "other"}, "retry": {"attempts": 1}},
        "other": {"targets": ["two/m"]},
    }
    async with bench(one, two, routes=routes) as at:
        sink, exchange = await at.ask(stream=stream)
        assert sink.status == 200
        assert sink.headers[b"x-mainspring-degraded"] == b"route"
        assert sink.headers[b"x-mainspring-provider"] == b"two"
        assert [attempt.outcome for attempt in exchange.attempts] == ["unreachable", "ok"]
        (row,) = at.ledger.rows
        assert (row.route, row.provider, row.input_tokens) == ("default", "two", 7)
        assert row.extra is not None
        assert row.extra["degraded"] == "route"


async def test_a_route_that_fails_too_falls_back_further() -> None:
    routes: Any = {
        "default": {"targets": ["one/m"], "fallback": {"route": "other"}, "retry": {"attempts": 1}},
        "other": {"targets": ["two/m"], "fallback": {"message": "The end."}, "retry": {"attempts": 1}},
    }
    one, two = ScriptedProvider("one", [AWAY]), ScriptedProvider("two", [AWAY])
    async with bench(one, two, routes=routes) as at:
        sink, exchange = await at.ask()
        assert b"The end." in sink.body
        assert (sink.headers[b"x-mainspring-degraded"], len(exchange.attempts)) == (b"message", 2)


@pytest.mark.parametrize(
    ("name", "said", "kind"),
    [
        ("echo", "chat: hi (default)", b"heuristic"),
        ("later", "later", b"heuristic"),
        ("nothing", "We are sorry.", b"message"),
        ("broken", "We are sorry.", b"message"),
        ("number", "We are sorry.", b"message"),
        ("leaving", "We are sorry.", b"message"),
        ("giving_up", "We are sorry.", b"message"),
        ("half", "We are sorry.", b"message"),
    ],
)
async def test_a_heuristic_of_ones_own(
    name: str, said: str, kind: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    fallback = {"heuristic": f"own_heuristics:{name}", "message": "We are sorry."}
    async with bench(
        ScriptedProvider("one", [AWAY]), route={"fallback": fallback, "retry": {"attempts": 1}}
    ) as at:
        sink, _ = await at.ask()
        assert json.loads(sink.body)["choices"][0]["message"]["content"] == said
        assert sink.headers[b"x-mainspring-degraded"] == kind
        assert "'hi'" not in capsys.readouterr().out, "no contents in the log"


async def test_a_heuristic_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.gateway.heuristics._SECONDS", 0.2)  # the same bound, reached sooner
    route: Any = {"fallback": {"heuristic": "own_heuristics:slow"}, "retry": {"attempts": 1}}
    async with bench(ScriptedProvider("one", [AWAY]), route=route) as at:
        began = time.monotonic()
        sink, _ = await at.ask()
        assert sink.status == 502
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("stream", [False, True])
async def test_a_heuristic_has_its_own_time_after_that_of_the_targets(*, stream: bool) -> None:
    fallback = {"heuristic": "own_heuristics:steady", "message": "We are sorry."}
    route: Any = {"fallback": fallback, "timeouts": {"first_token": 0.2, "total": 0.2}}
    async with bench(ScriptedProvider("one", [120.0, ANSWER]), route=route) as at:
        sink, exchange = await at.ask(stream=stream)
        assert (sink.status, exchange.degraded) == (200, "heuristic")
        assert b"in time" in sink.body


async def test_heuristics_that_hang_take_no_more_time_than_their_places(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mainspring.gateway.heuristics._SECONDS", 0.2)  # the same bound, reached sooner
    monkeypatch.setattr("mainspring.gateway.heuristics._AT_ONCE", 2)  # the same bound, reached sooner
    fallback = {"heuristic": "own_heuristics:slow", "message": "We are sorry."}
    route: Any = {"fallback": fallback, "retry": {"attempts": 1}}
    async with bench(ScriptedProvider("one", [AWAY]), route=route) as at:
        await asyncio.gather(*[at.ask() for _ in range(5)])
        allowed = "mainspring.gateway.heuristics._SECONDS"
        monkeypatch.setattr(allowed, 120)  # it must not end while others wait
        began = time.monotonic()
        sink, _ = await at.ask()
        assert sink.headers[b"x-mainspring-degraded"] == b"message"
        assert time.monotonic() - began < 20
        assert "heuristics_hang" in capsys.readouterr().out
        monkeypatch.setattr("mainspring.gateway.heuristics._SECONDS", 0.2)  # the same bound, reached sooner
        hanging = sys.modules["own_heuristics"].over
        hanging.set()
        await asyncio.sleep(0.5)  # they have come to their end, and their places are free
        hanging.clear()
        began = time.monotonic()
        await at.ask()
        assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:f", "there is no module 'no_such_module'"),
        ("own_heuristics:nobody", "the module has no 'nobody'"),
        ("own_heuristics:not_a_function", "is no function"),
    ],
)
async def test_a_heuristic_that_is_not_there_is_refused_at_once(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        async with bench(ScriptedProvider("one", [ANSWER]), route={"fallback": {"heuristic": name}}):
            pass
