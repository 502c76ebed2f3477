"""A clock that stands still until it is moved, and what plans look like in short."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.routing import Plan


class Clock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """What time it is."""
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def names(plan: Plan) -> list[str]:
    """The targets of a plan in order."""
    return [str(target) for target in plan.targets]
