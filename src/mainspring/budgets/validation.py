"""What a budget may say. One clear sentence for everything that it may not."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.clock import now_us
from mainspring.base.durations import parse_seconds
from mainspring.base.errors import InvalidRequest
from mainspring.base.ids import new_id
from mainspring.base.money import NANO, from_usd
from mainspring.budgets.types import KINDS, POLICIES, USUAL_THRESHOLDS, WINDOWS, Budget
from mainspring.budgets.windows import DAY_US, SECOND_US

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MOST_USD = 1_000_000_000
_MOST_NUSD = MOST_USD * NANO
MOST_TOKENS = 1_000_000_000_000_000
LONGEST_QUEUE = 600.0
SHORTEST_PERIOD_US, LONGEST_PERIOD_US = 60 * SECOND_US, 366 * DAY_US
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_MOST_THRESHOLDS, _HIGHEST_THRESHOLD = 10, 1000


class NewBudget(msgspec.Struct, kw_only=True):
    """A budget as somebody asks for it; see `Budget`. `usd` is dollars, `period` a duration such as `7d`."""

    scope: dict[str, str]
    name: str | None = None
    tenant: str | None = None
    usd: float | str | None = None
    tokens: int | None = None
    window: str
    period: str | None = None
    policy: str = "refuse"
    step_down: str | None = None
    queue_seconds: float | None = None
    thresholds: list[int] | None = None


def checked(wanted: NewBudget, routes: Collection[str] | None = None) -> Budget:
    """The budget that is asked for. The subject of one on a key is the key that was named; its line is found later.

    Args:
        wanted: what is asked for.
        routes: the names of routes, to step down to; None where they are not known here.

    Raises:
        InvalidRequest: it cannot be; `param` names the field.
    """
    kind, subject = _scope(wanted.scope)
    tenant = wanted.tenant
    if kind in {"tenant", "key"} and tenant is not None:
        raise _wrong("tenant", "A budget on a tenant or a key has its own tenant.", "Leave tenant out.")
    if tenant is not None:
        _text("tenant", tenant)
    now = now_us()
    budget = Budget(
        id=new_id(),
        name=_text("name", wanted.name or f"{kind} {subject}"[:200]),
        kind=kind,  # type: ignore[arg-type] # _scope lets only kinds pass
        subject=subject,
        tenant=subject if kind == "tenant" else tenant,
        window=_window(wanted.window),  # type: ignore[arg-type] # as above
        period_us=_period(wanted.window, wanted.period),
        nusd=_nusd(wanted.usd),
        tokens=_tokens(wanted.tokens),
        policy=wanted.policy,  # type: ignore[arg-type] # looked at below
        step_down=wanted.step_down,
        queue_seconds=wanted.queue_seconds
        if wanted.queue_seconds is not None
        else (10.0 if wanted.policy == "queue" else 0.0),
        thresholds=_thresholds(wanted.thresholds),
        created_us=now,
        starts_us=now,
    )
    return _whole(budget, routes)


def changed(budget: Budget, changes: Mapping[str, Any], routes: Collection[str] | None = None) -> Budget:
    """A budget with other caps, policy, thresholds or another name. What it is about and its window stay.

    Raises:
        InvalidRequest: it cannot be; `param` names the field.
    """
    values = dict(changes)
    if "usd" in values:
        values["nusd"] = _nusd(values.pop("usd"))
    if "tokens" in values:
        values["tokens"] = _tokens(values["tokens"])
    if "name" in values:
        values["name"] = _text("name", values["name"] or "")
    if "thresholds" in values:
        values["thresholds"] = _thresholds(values["thresholds"])
    if values.get("queue_seconds", 0.0) is None:
        values["queue_seconds"] = 0.0
    if "policy" in values and values["policy"] != "step_down" and "step_down" not in values:
        values["step_down"] = None
    if values.get("policy") == "queue" and not values.get("queue_seconds", budget.queue_seconds):
        values["queue_seconds"] = 10.0
    return _whole(msgspec.structs.replace(budget, **values), routes)


def of_key(key_id: str, name: str, tenant: str, settings: Mapping[str, Any], starts_us: int) -> Budget | None:
    """The budget that a key's settings name; None where they name none."""
    own = settings.get("budget")
    if not isinstance(own, dict):
        return None
    return Budget(
        id=key_id,
        name=f"key {name}"[:200],
        kind="key",
        subject=key_id,
        tenant=tenant,
        nusd=min(from_usd(own["usd"]), _MOST_NUSD),
        window=own["window"],
        created_us=starts_us,
        starts_us=starts_us,
    )


def _scope(scope: Mapping[str, str]) -> tuple[str, str]:
    if len(scope) != 1:
        raise _wrong(
            "scope",
            "The scope names exactly one thing.",
            'Write {"tenant": "acme"}, or key, user, feature, model.',
        )
    kind, subject = next(iter(scope.items()))
    if kind not in KINDS:
        raise _wrong("scope", f"There is no scope {kind[:50]!r}.", f"Use one of {', '.join(KINDS)}.")
    _text("scope", subject)
    if kind == "model" and not all(subject.partition("/")[::2]):
        raise _wrong(
            "scope", f"{subject!r} is not a model of a provider.", 'Write {"model": "openai/gpt-5-mini"}.'
        )
    return kind, subject


def _whole(budget: Budget, routes: Collection[str] | None) -> Budget:
    """What must fit together."""
    if budget.nusd is None and budget.tokens is None:
        raise _wrong(
            "usd",
            "A budget caps dollars or tokens, and this one caps neither.",
            "Give usd or tokens, or both.",
        )
    if budget.policy not in POLICIES:
        raise _wrong(
            "policy", f"There is no policy {str(budget.policy)[:50]!r}.", f"Use one of {', '.join(POLICIES)}."
        )
    if budget.policy == "step_down" and not budget.step_down:
        raise _wrong(
            "step_down", "The policy step_down needs a route to step down to.", 'Give "step_down": "cheap".'
        )
    if budget.policy != "step_down" and budget.step_down:
        raise _wrong(
            "step_down",
            "Only the policy step_down has a route to step down to.",
            'Set "policy": "step_down".',
        )
    if budget.step_down is not None and routes is not None and budget.step_down not in routes:
        raise _wrong(
            "step_down",
            f"There is no route {budget.step_down[:100]!r} to step down to.",
            f"Routes are: {', '.join(sorted(routes))}." if routes else "Add it to mainspring.toml.",
        )
    if not math.isfinite(budget.queue_seconds) or not 0 <= budget.queue_seconds <= LONGEST_QUEUE:
        raise _wrong(
            "queue_seconds", f"queue_seconds is 0 to {LONGEST_QUEUE:g}.", "Choose a number in between."
        )
    return budget


def _window(window: str) -> str:
    if window not in WINDOWS:
        raise _wrong("window", f"There is no window {window[:50]!r}.", f"Use one of {', '.join(WINDOWS)}.")
    return window


def _period(window: str, period: str | None) -> int | None:
    if window != "rolling":
        if period is not None:
            raise _wrong(
                "period", "Only a rolling window has a period.", 'Leave it out, or set "window": "rolling".'
            )
        return None
    if period is None:
        raise _wrong("period", "A rolling window needs its period.", 'Give "period": "7d".')
    try:
        period_us = int(parse_seconds(period) * SECOND_US)
    except ValueError as error:
        raise _wrong("period", f"period: {error}.", "Write 7d, 12h or 90m.") from None
    if not SHORTEST_PERIOD_US <= period_us <= LONGEST_PERIOD_US:
        raise _wrong("period", "A period is between a minute and a year.", "Write 7d, 12h or 90m.")
    return period_us // SECOND_US * SECOND_US


def _nusd(usd: float | str | None) -> int | None:
    if usd is None:
        return None
    try:
        amount = from_usd(usd)
    except ValueError:
        raise _wrong("usd", "usd is not an amount of dollars.", "Write a number such as 5 or 0.25.") from None
    if amount < 0:
        raise _wrong("usd", "A cap cannot be negative.", "0 lets nothing through that costs anything.")
    if amount > _MOST_NUSD:
        raise _wrong("usd", "A cap is at most a thousand million dollars.", "Leave it out for no cap.")
    return amount


def _tokens(tokens: int | None) -> int | None:
    if tokens is None:
        return None
    if tokens < 0:
        raise _wrong("tokens", "A cap cannot be negative.", "0 lets nothing through that uses tokens.")
    if tokens > MOST_TOKENS:
        raise _wrong("tokens", f"A cap is at most {MOST_TOKENS:,} tokens.", "Leave it out for no cap.")
    return tokens


def _thresholds(thresholds: list[int] | None) -> tuple[int, ...]:
    if thresholds is None:
        return USUAL_THRESHOLDS
    if len(thresholds) > _MOST_THRESHOLDS or not all(0 < one <= _HIGHEST_THRESHOLD for one in thresholds):
        raise _wrong(
            "thresholds", "Thresholds are at most 10 numbers of per cent above 0.", "Write [50, 80, 100]."
        )
    return tuple(sorted(set(thresholds)))


def _text(field: str, text: str) -> str:
    if not _NAME.fullmatch(text) or not text.strip():
        raise _wrong(field, f"{field} must be 1 to 200 printable characters.", "Choose another.")
    return text


def _wrong(param: str, message: str, remedy: str) -> InvalidRequest:
    return InvalidRequest(message, remedy=remedy, param=param)
