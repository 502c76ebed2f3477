"""What is kept of denials: everyone is counted, and of a flood a few are recorded, so that it fills no disk."""

from __future__ import annotations

from mainspring.store.shared import Allowance, Ask
from mainspring.store.shared.memory import Meters

#: Of one subject ten at once and then one a second; of all together two hundred and then twenty.
_OF_ONE = Allowance(1_000_000, 10)
_OF_ALL = Allowance(50_000, 200)
#: Subjects whose unrecorded denials are remembered.
_MOST = 10_000


class Denials:
    """Chooses which denials get a row of their own."""

    def __init__(self) -> None:
        self._meters = Meters()
        self._unrecorded: dict[str, int] = {}

    def record(self, key: str) -> int | None:
        """Whether this one is to be recorded.

        Args:
            key: the name of the meter that had no room: one subject under one limit.

        Returns:
            How many of the same subject were not since the last one that was; None if this one is not either.
        """
        asks = (Ask("", _OF_ALL, charge=1), Ask(key, _OF_ONE, charge=1))
        if self._meters.take(asks).admitted:
            return self._unrecorded.pop(key, 0)
        if len(self._unrecorded) >= _MOST and key not in self._unrecorded:
            self._unrecorded.pop(next(iter(self._unrecorded)))
        self._unrecorded[key] = self._unrecorded.get(key, 0) + 1
        return None

    def sweep(self) -> None:
        """Forget who was not denied for a while."""
        self._meters.sweep()
