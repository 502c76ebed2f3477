"""Where a call may go, in which order and why; and how the targets are that it may go to.

A route's rules, its strategy, what a request needs of a model and the state of the breakers become a `Plan`. This room
sends nothing, reads no body and knows neither callers' protocols nor how attempts are made: what it must know of a
request it asks of its `Needs`, and only where an answer depends on it.
"""

from __future__ import annotations

from mainspring.routing.gauges import measure_targets
from mainspring.routing.health import Health, TargetHealth
from mainspring.routing.router import Router
from mainspring.routing.types import Need, Needs, Plan, Target, target
from mainspring.routing.wanted import Wanted

__all__ = [
    "Health",
    "Need",
    "Needs",
    "Plan",
    "Router",
    "Target",
    "TargetHealth",
    "Wanted",
    "measure_targets",
    "target",
]
