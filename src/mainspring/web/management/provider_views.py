"""How providers look in JSON: their keys without any secret, their health, what is out of use and who did that.

Used by the API, the console and `--json` of the command line. Rests, headroom and breakers are in the memory of one
process: with several workers each tells of the calls that it made itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from mainspring.base.clock import iso, monotonic, now_us
from mainspring.base.errors import ConfigError
from mainspring.base.settings import without_password
from mainspring.base.settings.secrets import kind_of
from mainspring.providers.ages import DAY_US
from mainspring.providers.configured import base_url_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mainspring.base.settings import ProviderSettings
    from mainspring.providers import Ages, Providers
    from mainspring.providers.headroom import Allowance as StoredAllowance
    from mainspring.providers.pool import KeyPool, PooledKey
    from mainspring.providers.types import Drain as StoredDrain
    from mainspring.providers.types import Provider as OpenProvider
    from mainspring.routing.health import TargetHealth

#: Models whose headroom is shown for each key.
_MOST_MODELS = 8


class Drain(msgspec.Struct, kw_only=True):
    """Somebody took this out of use: no new call is made, calls under way finish."""

    since: str
    by: str
    reason: str | None


class Allowance(msgspec.Struct, kw_only=True):
    """What the provider said is left of a limit, and in how many seconds from now it is whole again."""

    remaining: int
    limit: int | None
    resets_in_s: float | None


class Headroom(msgspec.Struct, kw_only=True):
    """What the last answer for a model said of the limits of a key."""

    model: str
    seconds_ago: float
    requests: Allowance | None
    tokens: Allowance | None


class ProviderKey(msgspec.Struct, kw_only=True):
    """One key of a provider, without its secret.

    `state` is `ready`, `cooling` (its rate limit was met for the models in `resting`), `refused` (the provider does not
    accept it), `drained`, `missing` (it cannot be read: see `problem`) or `duplicate` (an earlier key has the same
    secret). `source` says where it is kept: `env`, `file`, `vault`, `aws`, or `literal` for the configuration itself.
    """

    label: str
    source: str
    state: str
    ready_in_s: float | None
    resting: list[str]
    in_use_since: str | None
    age_days: int | None
    old: bool
    problem: str | None
    drain: Drain | None
    calls: int
    headroom: list[Headroom]


class ProviderModel(msgspec.Struct, kw_only=True):
    """How a model of a provider is, as this process has seen it. `breaker` is `closed`, `open` or `half-open`."""

    model: str
    breaker: str
    retry_in_s: float | None
    in_flight: int
    error_rate: float
    failures: int
    last_failure: str | None
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None
    whole_p50_ms: float | None
    whole_p95_ms: float | None


class Provider(msgspec.Struct, kw_only=True):
    """One provider. `state` is `ready`, `cooling`, `refused`, `drained` or `without_key`."""

    name: str
    api: str
    base_url: str | None
    state: str
    ready_in_s: float | None
    drain: Drain | None
    keys: list[ProviderKey]
    models: list[ProviderModel]
    listed: list[str]


def provider_views(providers: Providers, ages: Ages, health: Iterable[TargetHealth] = ()) -> list[Provider]:
    """All providers by name.

    Args:
        providers: the open ones.
        ages: of their keys.
        health: of the models that this process has called.
    """
    entries = list(health)
    listed: dict[str, list[str]] = {}
    for name in providers.models():
        provider, _, model = name.partition("/")
        listed.setdefault(provider, []).append(model)
    return [
        _provider(
            provider,
            _address(provider.name, providers.configured[provider.name]),
            ages,
            [entry for entry in entries if entry.provider == provider.name],
            listed.get(provider.name, []),
        )
        for provider in sorted(providers, key=lambda provider: provider.name)
    ]


def _provider(
    provider: OpenProvider,
    base_url: str | None,
    ages: Ages,
    health: list[TargetHealth],
    listed: list[str],
) -> Provider:
    pool = provider.pool
    keys = [_key(pool, key, ages) for key in pool.keys if key.reference]
    return Provider(
        name=provider.name,
        api=provider.api,
        base_url=base_url,
        state=_state(pool, keys),
        ready_in_s=_finite(provider.ready()),
        drain=_drain(pool.drain),
        keys=keys,
        models=[
            ProviderModel(
                model=entry.model,
                breaker=entry.state,
                **{name: getattr(entry, name) for name in _SAME_FIELDS},
            )
            for entry in health
        ],
        listed=listed,
    )


_SAME_FIELDS = tuple(name for name in ProviderModel.__struct_fields__ if name not in {"model", "breaker"})


def _state(pool: KeyPool, keys: list[ProviderKey]) -> str:
    states = {key.state for key in keys}
    if pool.drain is not None:
        return "drained"
    if not states:
        return "ready"
    return next(
        (state for state in ("ready", "cooling", "refused", "drained") if state in states), "without_key"
    )


def _key(pool: KeyPool, key: PooledKey, ages: Ages) -> ProviderKey:
    since = ages.since(pool.provider, key)
    resting = key.resting.current()
    wait = max((rest.until - monotonic() for rest in resting.values()), default=None)
    return ProviderKey(
        label=key.label,
        source=kind_of(key.reference),
        state=key.state,
        ready_in_s=None if wait is None else round(max(0.0, wait), 1),
        resting=sorted(name or "all models" for name in resting),
        in_use_since=None if since is None else iso(since),
        age_days=None if since is None else max(0, (now_us() - since) // DAY_US),
        old=ages.old(since),
        problem=str(key.problem) if key.problem is not None else _same(key),
        drain=_drain(key.drain),
        calls=key.calls,
        headroom=_headroom(key),
    )


def _same(key: PooledKey) -> str | None:
    return None if key.twin is None else f"It is the same key as {key.twin}, and is not used beside it."


def _headroom(key: PooledKey) -> list[Headroom]:
    found = []
    for model in key.models():
        told = key.headroom(model)
        if told is None or (told[0].requests is None and told[0].tokens is None):
            continue
        found.append(
            Headroom(
                model=model,
                seconds_ago=round(told[1], 1),
                requests=_allowance(told[0].requests, told[1]),
                tokens=_allowance(told[0].tokens, told[1]),
            )
        )
    return sorted(found, key=lambda one: one.seconds_ago)[:_MOST_MODELS]


def _allowance(allowance: StoredAllowance | None, ago: float) -> Allowance | None:
    if allowance is None:
        return None
    resets = allowance.resets_s
    return Allowance(
        remaining=allowance.remaining,
        limit=allowance.limit,
        resets_in_s=None if resets is None else round(max(0.0, resets - ago), 1),
    )


def _drain(drain: StoredDrain | None) -> Drain | None:
    return None if drain is None else Drain(since=iso(drain.since_us), by=drain.by, reason=drain.reason)


def _address(name: str, provider: ProviderSettings) -> str | None:
    if provider.api == "local":
        return None
    try:
        return without_password(base_url_of(name, provider))
    except ConfigError:
        return None


def _finite(seconds: float) -> float | None:
    return None if seconds == math.inf else round(max(0.0, seconds), 1)
