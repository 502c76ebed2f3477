"""What was used becomes tokens and money."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.gateway import ANSWER, HELLO, ScriptedProvider, bench

from mainspring.base.errors import (
    ClientGone,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnreachable,
    StreamCut,
)
from mainspring.base.settings import ModelSettings
from mainspring.gateway.settle import settle
from mainspring.keys.types import Principal
from mainspring.ledger.types import Attempt, Usage
from mainspring.providers.estimate import estimate_request, estimate_text
from mainspring.providers.prices import PriceTable
from mainspring.providers.types import Operation, Seen
from mainspring.routing import Target

PRICES = PriceTable({"one/m": ModelSettings(input_usd_per_mtok=1, output_usd_per_mtok=10)}, {})
REPORTED = Usage(input=7, cache_read=2, output=3, reasoning=1)


async def settled(provider: str = "one", operation: Operation = Operation.CHAT, **state: Any) -> Any:
    prices = state.pop("prices", PRICES)
    async with bench(ScriptedProvider("one", [ANSWER])) as at:
        exchange = at.exchange(stream=state.pop("stream", False), operation=operation)
    exchange.principal = Principal("k", "n", "acme", "member")
    exchange.target = Target(provider, "m", ())
    exchange.attempts = [Attempt(provider=provider, model="m", started_us=1)]
    exchange.attempt = exchange.attempts[0]
    for name, value in state.items():
        setattr(exchange, name, value)
    row, payload = settle(exchange, prices, "hash")
    return row, payload, estimate_request(exchange.operation, exchange.body)


async def test_what_the_provider_reported() -> None:
    row, payload, _ = await settled(seen=Seen(usage=REPORTED, finished=True, model="m-9"), answer=[ANSWER])
    assert (row.input_tokens, row.cache_read_tokens, row.output_tokens, row.reasoning_tokens) == (7, 2, 3, 1)
    assert (row.usage_source, row.cost_nusd, row.model) == ("provider", 9 * 1000 + 4 * 10_000, "m-9")
    assert payload.response == ANSWER


async def test_a_name_of_any_length_does_not_get_into_the_row() -> None:
    row, _, _ = await settled(seen=Seen(usage=REPORTED, finished=True, model="m" * 9000), answer=[ANSWER])
    assert row.model == "m" * 256


async def test_what_another_model_used_for_the_answer_has_its_own_price() -> None:
    seen = Seen(usage=REPORTED, finished=True, beside=[("adviser", Usage(input=100, output=10))])
    prices = {
        "one/m": ModelSettings(input_usd_per_mtok=1, output_usd_per_mtok=10),
        "one/adviser": ModelSettings(input_usd_per_mtok=5, output_usd_per_mtok=50),
    }
    row, _, _ = await settled(seen=seen, answer=[ANSWER], prices=PriceTable(prices, {}))
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (107, 13, "provider")
    assert row.attempts[0].cost_nusd == 9 * 1000 + 4 * 10_000
    assert row.cost_nusd == row.attempts[0].cost_nusd + 100 * 5000 + 10 * 50_000
    row, _, _ = await settled(seen=seen, answer=[ANSWER])
    assert row.cost_nusd is None, "the price of one of them is not known"


async def test_an_answer_without_usage_is_estimated() -> None:
    row, _, asked = await settled(seen=Seen(finished=True), answer=[ANSWER])
    assert (row.usage_source, row.input_tokens) == ("estimated", asked)
    assert row.output_tokens > 0
    assert row.cost_nusd == asked * 1000 + row.output_tokens * 10_000


async def test_an_unknown_price_is_unknown_and_not_nothing() -> None:
    row, _, _ = await settled("two", seen=Seen(usage=REPORTED, finished=True), answer=[ANSWER])
    assert row.cost_nusd is None


@pytest.mark.parametrize("error", [StreamCut("cut"), ClientGone("gone"), ProviderTimeout("late")])
async def test_a_cut_stream(error: Exception) -> None:
    known = Seen(
        usage=Usage(input=10, cache_read=30, cache_write=5, cache_write_1h=3, output=1), content=True
    )
    row, _, _ = await settled(seen=known, error=error, answer=[HELLO * 20], stream=True, cut=True)
    assert (row.input_tokens, row.cache_read_tokens, row.cache_write_tokens) == (10, 30, 5)
    assert row.output_tokens > 1
    assert row.usage_source == "estimated"
    row, _, asked = await settled(seen=Seen(), error=error, answer=[HELLO], stream=True)
    assert (row.input_tokens, row.usage_source) == (asked, "estimated")


@pytest.mark.parametrize(
    "error", [ProviderRefused("no", upstream_status=500), ProviderUnreachable("away"), StreamCut("cut")]
)
async def test_nothing_was_used(error: Exception) -> None:
    row, _, _ = await settled(error=error)
    assert (row.input_tokens, row.output_tokens, row.usage_source, row.cost_nusd) == (0, 0, None, 0)


async def test_who_left_or_waited_is_charged_for_the_prompt() -> None:
    for error in (ClientGone("gone"), ProviderTimeout("late")):
        row, _, asked = await settled(error=error)
        assert (row.input_tokens, row.output_tokens, row.usage_source) == (asked, 0, "estimated")


async def test_counting_tokens_costs_nothing() -> None:
    row, _, _ = await settled(
        "two", Operation.COUNT_TOKENS, seen=Seen(usage=Usage(), finished=True), answer=[b"{}"]
    )
    assert (row.usage_source, row.cost_nusd) == (None, 0)


async def test_without_a_target_nothing_was_spent() -> None:
    row, _, _ = await settled(target=None, attempts=[], attempt=None)
    assert (row.provider, row.model, row.cost_nusd) == (None, None, 0)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("rate_limit_error", "The provider answered 429 (rate_limit_error)."),
        (None, "The provider answered 429."),
        ("you said: my password is x", "The provider answered 429."),
        ("a" * 65, "The provider answered 429."),
        ("geheim\u00e9", "The provider answered 429."),
    ],
)
async def test_the_words_of_a_provider_stay_out_of_the_row(kind: str | None, message: str) -> None:
    error = ProviderRefused(
        "one answered 429: SECRET", upstream_status=429, upstream_body=b"SECRET", upstream_type=kind
    )
    row, payload, _ = await settled(error=error, refusal=b'{"error":"SECRET"}')
    assert row.error_message == message
    assert "SECRET" not in repr(row)
    assert payload.response == b'{"error":"SECRET"}'


async def test_long_explanations_are_cut() -> None:
    row, _, _ = await settled(error=StreamCut("x" * 9999))
    assert len(row.error_message) == 500


async def test_payloads_that_are_not_kept() -> None:
    _, payload, _ = await settled(store_payloads=False, seen=Seen(usage=REPORTED, finished=True))
    assert payload is None


MODELS = {"one/m": ModelSettings(input_usd_per_mtok=1, output_usd_per_mtok=10)}
#: Of the protocol as far as usage is read off it, but without a message that could be said in another one.
UNSAYABLE = b'{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}'


async def test_an_answer_that_cannot_be_said_was_billed_all_the_same() -> None:
    async with bench(
        ScriptedProvider("one", [UNSAYABLE]), models=MODELS, route={"retry": {"attempts": 1}}
    ) as at:
        sink, _ = await at.ask(operation=Operation.MESSAGES)
        (row,) = at.ledger.rows
    assert (sink.status, row.error) == (502, "provider_protocol_error")
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (7, 3, "provider")
    assert row.cost_nusd == row.attempts[0].cost_nusd == 7 * 1000 + 3 * 10_000


async def test_a_whole_answer_in_place_of_a_stream_was_billed() -> None:
    one = ScriptedProvider("one", [ANSWER])
    one.kind = "application/json"
    async with bench(one, models=MODELS, route={"retry": {"attempts": 1}}) as at:
        sink, _ = await at.ask(stream=True)
        (row,) = at.ledger.rows
    assert (sink.status, row.error) == (502, "provider_protocol_error")
    assert (row.input_tokens, row.output_tokens, row.cost_nusd) == (7, 3, 7 * 1000 + 3 * 10_000)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_breaks_off_everywhere(stream: bool) -> None:
    cut = StreamCut("one broke the connection.", arrived=b"" if stream else ANSWER[:-60])
    one = ScriptedProvider("one", [b": hello\n\n" if stream else b"", cut])
    async with bench(one, models=MODELS, route={"retry": {"attempts": 1}}) as at:
        _, exchange = await at.ask(stream=stream)
        (row,) = at.ledger.rows
    asked = estimate_request(exchange.operation, exchange.body)
    assert (row.error, row.usage_source, row.input_tokens) == ("stream_cut", "estimated", asked)
    assert row.output_tokens == (0 if stream else estimate_text("hello there"))
    assert row.cost_nusd == asked * 1000 + row.output_tokens * 10_000
