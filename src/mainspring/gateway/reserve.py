"""Before each call upstream: what it may cost at most is set aside; after the last one, what it has cost is counted.

A bound must be one: of a text no tokenizer makes more tokens than it has bytes, and an answer has a limit, the caller's,
the model's or one that is written into the request. What a call costs beyond its bounds all the same (a provider that
ignores limits, a picture that was larger than it looked) is taken from what the process holds, and learned.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.errors import RequestError
from mainspring.base.logging import get_logger
from mainspring.budgets import Bounds
from mainspring.budgets.settling import SHARES
from mainspring.providers.capabilities import Capabilities
from mainspring.providers.types import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainspring.base.errors import BudgetExceeded
    from mainspring.base.settings import Settings
    from mainspring.budgets import Budgets, Charge
    from mainspring.budgets.settling import Counter, Shares
    from mainspring.gateway.exchange import Envelope, Exchange
    from mainspring.ledger.types import Inference
    from mainspring.providers import Providers
    from mainspring.routing import Plan
    from mainspring.routing.types import Target
    from mainspring.store import Connection

#: Tokens around a request, as chat templates add them; what tools add; what a picture or file may have at most.
_TEMPLATE, _TOOLS, _MEDIUM = 128, 1024, 8192
_MEDIA = (b'"image', b'"input_image', b'"document"', b'"file', b'"input_file', b'"input_audio')
#: From this size on it is looked whether a request is so large because of its pictures.
_LARGE = 16_384
#: A conversation that the provider remembers, where the model's context is not known.
_REMEMBERED = 128_000
#: Numbers above this are no length of an answer; the provider says so.
_MOST = 1 << 40
#: What bounds an answer, as each protocol calls it. The names of another protocol bound nothing, whatever they say.
OUTPUT_LIMITS = {
    Operation.CHAT: ("max_completion_tokens", "max_tokens"),
    Operation.COMPLETIONS: ("max_tokens",),
    Operation.RESPONSES: ("max_output_tokens",),
    Operation.MESSAGES: ("max_tokens",),
}
#: An attempt with one of these has used nothing that anybody bills.
_UNUSED = frozenset({"refused", "unreachable"})

_log = get_logger(__name__)


class Purse:
    """What the requests of one configuration share on their way through budgets.

    Args:
        budgets: the room.
        settings: the configuration.
        providers: who answers, and what that costs.
    """

    def __init__(self, budgets: Budgets, settings: Settings, providers: Providers) -> None:
        self.budgets = budgets
        self.prices = providers.prices
        self._capabilities = Capabilities(settings, providers.prices)

    def open(self, exchange: Exchange) -> None:
        """Open the account of a request. Where no budget is about it, there is none."""
        if self.budgets.has_none(exchange.received_us):
            return
        subject = exchange.subject
        assert subject is not None, "admit comes first"
        charge = self.budgets.open(subject, _time_us(exchange.id))
        if charge is not None and exchange.operation is not Operation.COUNT_TOKENS:
            exchange.cover = Cover(self, charge)

    def settle(
        self, exchange: Exchange, row: Inference
    ) -> list[Counter] | Callable[[Connection], list[Counter]]:
        """Count what a request has cost. Returns what goes into the transaction of its row."""
        subject, cover, budgets = exchange.subject, exchange.cover, self.budgets
        if subject is None or (cover is None and budgets.has_none(exchange.received_us)):
            return []
        time_us = _time_us(exchange.id) if cover is None else cover.charge.time_us
        if cover is None and not budgets.is_stale(time_us) and not budgets.concerns(subject, time_us):
            return []
        shares = _shares(exchange, row)
        if cover is not None:
            cover.learn(exchange, row)
        counters = budgets.settle(subject, time_us, cover.charge if cover is not None else None, shares)
        if not shares:
            return counters
        if callable(counters):
            count = counters

            def late(connection: Connection) -> list[Counter]:
                row.extra = {**(row.extra or {}), SHARES: shares}
                return count(connection)

            return late
        if budgets.counts_models:
            row.extra = {**(row.extra or {}), SHARES: shares}
        return counters

    def most_output(self, target: Target) -> int | None:
        """The longest answer that a model gives; its context where nothing else is known."""
        known = self._capabilities.of(target.provider, target.model)
        return known.max_output_tokens or known.context_tokens

    def context(self, target: Target) -> int | None:
        """What a model reads at most."""
        return self._capabilities.of(target.provider, target.model).context_tokens


class Cover:
    """The account of one request: what was reserved for its calls."""

    __slots__ = ("_base", "_freed", "charge", "limits", "purse", "stepped_down")

    def __init__(self, purse: Purse, charge: Charge) -> None:
        self.purse = purse
        self.charge = charge
        #: Output limits that must be written into the calls to these targets.
        self.limits: dict[Target, int] = {}
        self.stepped_down = False
        self._base: Bounds | None = None
        self._freed: set[int] = set()

    async def take(self, exchange: Exchange, target: Target) -> None:
        """Reserve for a call to a target. Raises as `Charge.cover` does."""
        for attempt in exchange.attempts:
            if attempt.ended_us and attempt.outcome in _UNUSED and id(attempt) not in self._freed:
                self._freed.add(id(attempt))
                self.charge.free(attempt.provider, attempt.model)
        purse, base = self.purse, self._base
        if base is None:
            base = self._base = bounds_of(
                exchange.operation, exchange.body, exchange.envelope, has_parts=exchange.has_parts
            )
        if base.output is None and base.answers:
            base = base._replace(maximum=purse.most_output(target))
        if exchange.operation is Operation.RESPONSES and _is_continued(exchange.body):
            base = base._replace(prompt=base.prompt + (purse.context(target) or _REMEMBERED))
        if exchange.content_sent:  # the rest of a stream: what was said goes in once more
            base = base._replace(prompt=base.prompt + exchange.response_bytes)
        rates = purse.prices.rates(target.provider, target.model)
        assert exchange.timeouts is not None, "plan comes first"
        until = exchange.received + exchange.timeouts.total
        limit = await self.charge.cover(target.provider, target.model, base, rates, until=until)
        if limit is not None:
            self.limits[target] = limit

    def learn(self, exchange: Exchange, row: Inference) -> None:
        """See how good the bounds of a call were that was the only one."""
        holds, target = self.charge.holds, exchange.target
        if len(holds) != 1 or exchange.losses or target is None or row.usage_source != "provider":
            return
        hold, base = holds[0], self._base
        if base is None or (hold.provider, hold.model) != (target.provider, target.model):
            return
        prompt = row.input_tokens + row.cache_read_tokens + row.cache_write_tokens
        output = row.output_tokens + row.reasoning_tokens
        raised = self.purse.budgets.learned.note(
            hold.provider, hold.model, prompt, output, hold.prompt, hold.output * base.choices
        )
        if raised is not None:
            _log.warning(
                "budget_bound_passed",
                provider=hold.provider,
                model=hold.model,
                prompt_tokens=prompt,
                prompt_bound=hold.prompt,
                output_tokens=output,
                output_bound=hold.output * base.choices,
                correction=[round(raised.prompt, 2), round(raised.output, 2)],
            )


async def reserve(exchange: Exchange, target: Target) -> None:
    """Set aside what a call of this exchange to this target may cost. Where no budget is about it, nothing.

    Raises:
        BudgetExceeded: there is too little left; another target may be cheaper.
        UnknownPrice: nobody knows what it would cost; another target may have a price.
        StoreUnavailable: the database must be asked, and does not answer.
    """
    if exchange.cover is not None:
        await exchange.cover.take(exchange, target)


def release(exchange: Exchange) -> None:
    """Give back what is still reserved. More than once is fine."""
    if exchange.cover is not None:
        exchange.cover.charge.close()


def step_down(exchange: Exchange, error: BudgetExceeded, plan_for: Callable[[str], Plan]) -> bool:
    """Go on with the route that a budget names for the case that it is spent, once.

    Args:
        exchange: the request that was refused; nothing was sent upstream that is still open.
        error: the refusal.
        plan_for: finds the plan of a route.

    Returns:
        Whether there is such a route.
    """
    cover = exchange.cover
    if error.step_down is None or cover is None or cover.stepped_down or exchange.content_sent:
        return False
    cover.stepped_down = True
    try:
        plan = plan_for(error.step_down)
    except RequestError:  # there is no such route any more, or it cannot do this
        return False
    before = exchange.plan.route if exchange.plan is not None else None
    plan = msgspec.structs.replace(
        plan,
        why=f"stepped down from {before or exchange.envelope.model} because budget {error.budget_id} is spent; {plan.why}",
    )
    exchange.plan, exchange.timeouts = plan, plan.timeouts
    return True


def _shares(exchange: Exchange, row: Inference) -> Shares:
    """What each model used, by name; empty where nothing was."""
    nusd, target = row.cost_nusd or 0, exchange.target
    tokens = (
        row.input_tokens
        + row.cache_read_tokens
        + row.cache_write_tokens
        + row.output_tokens
        + row.reasoning_tokens
    )
    shares: Shares = {}
    if not nusd and not tokens:
        return shares
    for loss in exchange.losses:
        usage, name = loss.usage, f"{loss.target.provider}/{loss.target.model}"
        lost = usage.input + usage.cache_read + usage.cache_write + usage.output + usage.reasoning
        cost = (loss.attempt.cost_nusd or 0) if row.cost_nusd is not None else 0
        before = shares.get(name, (0, 0))
        shares[name] = before[0] + cost, before[1] + lost
        nusd, tokens = nusd - cost, tokens - lost
    if target is not None:  # else a text of our own stood in: what it took to get there stands above
        name = f"{target.provider}/{target.model}"
        before = shares.get(name, (0, 0))
        shares[name] = before[0] + nusd, before[1] + tokens
    return shares


def bounds_of(operation: Operation, body: bytes, said: Envelope, *, has_parts: bool) -> Bounds:
    """The bounds of a request, whoever answers it. `has_parts` is that of the exchange."""
    prompt = _most_prompt(operation, body, has_parts=has_parts)
    if len(said.tools) or len(said.functions):
        prompt += _TOOLS
    if operation is Operation.EMBEDDINGS:
        return Bounds(prompt, 0, answers=False)
    most = 0
    for name in OUTPUT_LIMITS.get(operation, ()):
        limit = getattr(said, name)
        if type(limit) is int and most < limit <= _MOST:
            most = limit
    choices = 1
    for number in (said.n, said.best_of):
        if number is not None and choices < (asked := _number(number)) <= _MOST:
            choices = asked
    return Bounds(prompt, most or None, None, choices, has_parts and b'"cache_control"' in body)


def _most_prompt(operation: Operation, body: bytes, *, has_parts: bool) -> int:
    prompt = len(body) + _TEMPLATE
    if has_parts:
        for word in _MEDIA:
            if word in body:
                prompt += body.count(word) * _MEDIUM
        if len(body) > _LARGE and b"base64" in body:
            prompt -= _letters_of_pictures(operation, body)
    return prompt


def _letters_of_pictures(operation: Operation, body: bytes) -> int:
    """Letters that are read as pictures and not as text: they cost what a picture costs, not a token each.

    Only where they stand where the protocol has pictures; what looks like one elsewhere is text.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return _in_turns(document.get("input" if operation is Operation.RESPONSES else "messages"))


def _in_turns(turns: Any) -> int:
    """The same of a conversation, or of the result of a tool, which has its content in the same way."""
    letters = 0
    for turn in turns if isinstance(turns, list) else ():
        content = turn.get("content") if isinstance(turn, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                letters += _in_turns([part]) if part.get("type") == "tool_result" else _in_part(part)
    return letters


def _in_part(part: dict[str, Any]) -> int:
    match part:
        case {"type": "image_url", "image_url": {"url": str(data)}}:
            pass
        case {"type": "input_image", "image_url": str(data)}:
            pass
        case {"type": "image", "source": {"type": "base64", "data": str(data)}}:
            return len(data)
        case _:
            return 0
    return len(data) if data.startswith("data:image/") else 0


def _number(value: object) -> int:
    """A number as a provider that is not strict may read it, `4.0` and `"4"` as 4; 0 where it is none."""
    if type(value) is int:
        return value
    try:
        return math.ceil(float(value)) if isinstance(value, float | str) else 0
    except (ValueError, OverflowError):
        return 0


def _is_continued(body: bytes) -> bool:
    return b'"previous_response_id"' in body or b'"conversation"' in body


def _time_us(request_id: str) -> int:
    """The time of an id, as rows have it."""
    return int(request_id[:8] + request_id[9:13], 16) * 1000
