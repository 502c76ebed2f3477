"""The state of all keys as numbers for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mainspring.base.telemetry import Meter
    from mainspring.providers.pool import KeyPool, PooledKey


def measure_keys(meter: Meter, pools: Callable[[], Iterable[KeyPool]]) -> None:
    """Register what is read when somebody asks; a state is that of this process."""

    def count(is_so: Callable[[PooledKey], bool]) -> Callable[[], float]:
        return lambda: sum(is_so(key) for pool in pools() for key in pool.keys if key.reference)

    meter.gauge("provider_keys", "Keys of providers.", count(lambda _: True))
    meter.gauge("provider_keys_missing", "Keys that cannot be read.", count(lambda key: key.secret is None))
    meter.gauge(
        "provider_keys_cooling",
        "Keys that rest for some model because a rate limit was met.",
        count(lambda key: _rests(key, "limited")),
    )
    meter.gauge(
        "provider_keys_refused",
        "Keys that a provider does not accept.",
        count(lambda key: _rests(key, "refused")),
    )
    meter.gauge(
        "provider_keys_drained", "Keys taken out of use by hand.", count(lambda key: key.drain is not None)
    )
    meter.gauge(
        "providers_drained",
        "Providers taken out of use by hand.",
        lambda: sum(pool.drain is not None for pool in pools()),
    )


def _rests(key: PooledKey, reason: str) -> bool:
    return any(rest.reason == reason for rest in key.resting.current().values())
