"""The state of all keys as numbers for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mainspring.base.telemetry import Meter
    from mainspring.providers.pool import KeyPool


def measure_keys(meter: Meter, pools: Callable[[], Iterable[KeyPool]]) -> None:
    """Register what is read when somebody asks; rests are those of this process."""
    meter.states(
        "provider_keys",
        "Keys of a provider by state: ready, cooling, refused, drained, missing, duplicate.",
        lambda: [
            ({"provider": pool.provider, "state": state}, number)
            for pool in pools()
            for state, number in _numbers(pool).items()
        ],
    )
    meter.states(
        "provider_drained",
        "1 while a provider is taken out of use by hand.",
        lambda: [({"provider": pool.provider}, float(pool.drain is not None)) for pool in pools()],
    )


def _numbers(pool: KeyPool) -> dict[str, float]:
    numbers = dict.fromkeys(("ready", "cooling", "refused", "drained", "missing", "duplicate"), 0.0)
    keys = [key for key in pool.keys if key.reference]
    for key in keys:
        numbers[key.state] += 1
    return numbers if keys else {}
