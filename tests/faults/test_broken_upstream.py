"""Every way in which a provider can fail ends in the client's own error type, never in a clean end, and the ledger
says what happened.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.support.conversations import user
from tests.support.server import RunningServer, provider_config, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.provider_server import ProviderServer

#: What the script does, and what the ledger may call it: error codes and outcomes of the attempt.
STREAMS = {
    "status=500": ({"provider_refused"}, {"refused"}),
    "status=429+retry_after=1": ({"provider_refused"}, {"refused"}),
    "cut=headers": ({"provider_unreachable"}, {"unreachable"}),
    "cut=body": ({"stream_cut", "provider_unreachable"}, {"cut", "unreachable"}),
    "cut=start": ({"stream_cut"}, {"cut"}),
    "cut=content": ({"stream_cut"}, {"cut"}),
    "eof=body": ({"stream_cut", "provider_protocol_error"}, {"cut", "protocol"}),
    "eof=start": ({"stream_cut"}, {"cut"}),
    "eof=content": ({"stream_cut"}, {"cut"}),
    "eof=content+blank=no": ({"stream_cut"}, {"cut"}),
    "eof=content+framing=close": ({"stream_cut"}, {"cut"}),
    "error=start": ({"provider_refused"}, {"refused"}),
    "error=content": ({"provider_refused"}, {"refused"}),
    "body=garbage": ({"provider_protocol_error"}, {"protocol"}),
    "body=html": ({"provider_protocol_error"}, {"protocol"}),
    "body=empty": ({"provider_protocol_error", "stream_cut"}, {"protocol", "cut"}),
    "body=list": ({"provider_protocol_error"}, {"protocol"}),
    "hang=headers": ({"provider_timeout"}, {"timeout"}),
    "hang=body": ({"provider_timeout"}, {"timeout"}),
    "hang=start": ({"provider_timeout"}, {"timeout"}),
    "hang=content": ({"provider_timeout"}, {"timeout"}),
}
WHOLE = {
    "status=500": ({"provider_refused"}, {"refused"}),
    "status=429+retry_after=1": ({"provider_refused"}, {"refused"}),
    "cut=headers": ({"provider_unreachable"}, {"unreachable"}),
    "cut=body": ({"provider_unreachable", "stream_cut"}, {"unreachable", "cut"}),
    "cut=content": ({"provider_unreachable", "stream_cut"}, {"unreachable", "cut"}),
    "eof=content": ({"provider_protocol_error"}, {"protocol"}),
    "error=content": ({"provider_refused"}, {"refused"}),
    "body=garbage": ({"provider_protocol_error"}, {"protocol"}),
    "body=html": ({"provider_protocol_error"}, {"protocol"}),
    "body=empty": ({"provider_protocol_error"}, {"protocol"}),
    "body=list": ({"provider_protocol_error"}, {"protocol"}),
    "hang=headers": ({"provider_timeout"}, {"timeout"}),
    "hang=body": ({"provider_timeout"}, {"timeout"}),
    "hang=content": ({"provider_timeout"}, {"timeout"}),
}
CASES = [(traits, True, *expected) for traits, expected in STREAMS.items()]
CASES += [(traits, False, *expected) for traits, expected in WHOLE.items()]


PROVIDERS = ("openai", "anthropic")
SURFACES = ("chat", "messages", "responses", "completions")
#: Provider, surface, what the script does, and whether it streams.
HANGING = [
    (name, surface, traits, stream)
    for name in PROVIDERS
    for surface in SURFACES
    for traits, stream, *_ in CASES
    if traits.startswith("hang=")
]


def _target(provider_name: str, surface: str, traits: str, stream: bool) -> str:
    # Twelve words, so that "in the content" is in the middle; apart, so that some have gone out before the failure.
    return f"{provider_name}/{surface}{stream}+words=12+gap=0.05+{traits}"


def _route(target: str) -> str:
    return "hanging-" + "".join(letter if letter.isalnum() else "-" for letter in target)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer) -> Iterator[RunningServer]:
    """A server with little patience on the routes for what hangs, so that it is over soon."""
    config = provider_config(provider.url, first_token=60, idle=60, total=120)
    for target in [_target(*case) for case in HANGING]:
        # A stream that hangs in its content has to come so far first, and a busy machine may take its time for that.
        begins = 60 if "hang=content" in target and "True" in target else 1
        config += f'\n[routes.{_route(target)}]\ntargets = ["{target}"]\n[routes.{_route(target)}.timeouts]\n'
        config += f"first_token = {begins}\nidle = 1\ntotal = {begins + 1.5}\n"
    with running(RunningServer(tmp_path_factory.mktemp("hasty"), config)) as server:
        yield server


@pytest.fixture
async def clients(hasty: RunningServer) -> AsyncIterator[tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic]]:
    key = hasty.create_key()
    oai = openai.AsyncOpenAI(base_url=f"{hasty.url}/v1", api_key=key, max_retries=0, timeout=120)
    claude = anthropic.AsyncAnthropic(base_url=hasty.url, api_key=key, max_retries=0, timeout=120)
    async with oai, claude:
        yield oai, claude


@pytest.mark.parametrize("surface", SURFACES)
async def test_every_failure_is_an_error(
    hasty: RunningServer, clients: tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic], surface: str
) -> None:
    feature = f"broken-{surface}"
    cases = [(provider_name, *case) for provider_name in PROVIDERS for case in CASES]
    results = await asyncio.gather(
        *(
            _ask(clients, surface, name, feature, traits, stream=stream)
            for name, traits, stream, _, _ in cases
        )
    )
    wrong = [
        f"{name} {traits} stream={stream}: {result}"
        for (name, traits, stream, _, _), result in zip(cases, results, strict=True)
        if result != "the client's own error"
    ]
    rows = {row["user"]: row for row in await asyncio.to_thread(hasty.wait_rows, len(cases), feature=feature)}
    for name, traits, stream, errors, outcomes in cases:
        wrong += _wrong_with(rows[f"{name} {traits} {stream}"], traits, errors, outcomes, stream=stream)
    assert not wrong, "\n".join(wrong)


async def _ask(
    clients: tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic],
    surface: str,
    provider_name: str,
    feature: str,
    traits: str,
    *,
    stream: bool,
) -> str:
    """What a user of the client library gets to see."""
    oai, claude = clients
    target = _target(provider_name, surface, traits, stream)
    common: dict[str, Any] = {
        "model": _route(target) if traits.startswith("hang=") else target,
        "stream": stream,
        "extra_headers": {
            "x-mainspring-feature": feature,
            "x-mainspring-user": f"{provider_name} {traits} {stream}",
        },
    }
    try:
        answer: Any
        if surface == "chat":
            answer = await oai.chat.completions.create(messages=user("hi"), **common)
        elif surface == "completions":
            answer = await oai.completions.create(prompt="hi", **common)
        elif surface == "responses":
            answer = await oai.responses.create(input="hi", **common)
        else:
            answer = await claude.messages.create(messages=user("hi"), max_tokens=500, **common)
        if not stream:
            return f"a clean answer: {answer}"
        events = [event async for event in answer]
    except (openai.APIConnectionError, anthropic.APIConnectionError) as error:
        return f"a broken connection: {error!r}"
    except (openai.APIError, anthropic.APIError):
        return "the client's own error"
    except Exception as error:  # noqa: BLE001 - whatever else a user would see is what this test is after
        return f"an error of the transport: {error!r}"
    return f"a clean end after {len(events)} events, the last of them {events[-1:]}"


def _wrong_with(
    row: dict[str, Any], traits: str, errors: set[str], outcomes: set[str], *, stream: bool
) -> list[str]:
    """What the ledger says, compared with what it should."""
    in_content = stream and "content" in traits
    complaints = []
    if row["error"] not in errors:
        complaints.append(f"error {row['error']} not in {errors}")
    if row["attempts"][-1]["outcome"] not in outcomes:
        complaints.append(f"outcome {row['attempts'][-1]['outcome']} not in {outcomes}")
    if row["cut"] is not in_content:
        complaints.append(f"cut is {row['cut']}")
    if in_content and (row["status"] != 200 or row["output_tokens"] == 0):
        complaints.append(f"status {row['status']}, {row['output_tokens']} output tokens")
    if not stream and row["status"] < 400:
        complaints.append(f"status {row['status']}")
    if row["finish_reason"] is not None:
        complaints.append(f"finish reason {row['finish_reason']}")
    return [f"{row['user']}: {complaint} in the ledger" for complaint in complaints]
