"""The health of targets as numbers for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.base.telemetry import Meter
    from mainspring.routing.health import Health

_BREAKER = {"closed": 0.0, "half-open": 1.0, "open": 2.0}


def measure_targets(health: Health, meter: Meter) -> None:
    """Tell of every target that was called."""
    meter.states(
        "target_breaker",
        "A target's breaker: 0 closed, 1 half-open, 2 open.",
        lambda: [
            ({"provider": provider, "model": model}, _BREAKER[state])
            for provider, model, state, _ in health.states()
        ],
    )
    meter.states(
        "target_in_flight",
        "Calls under way to a target.",
        lambda: [
            ({"provider": provider, "model": model}, calls) for provider, model, _, calls in health.states()
        ],
    )
