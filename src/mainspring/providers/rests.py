"""For which models a key rests, until when, and after how many refusals in a row."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainspring.base.clock import monotonic

Reason = Literal["limited", "refused"]
#: Entries that one key keeps; those that are over go first.
_MOST = 200


class Rest(msgspec.Struct):
    """One rest. `until` is monotonic seconds; `count` are refusals since the last answer."""

    until: float
    count: int
    reason: Reason


class Rests:
    """The rests of one key, by model; an empty name stands for all of them."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[str, Rest] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, model: str, seconds: float, reason: Reason) -> None:
        """Rest from now on; never shorter than was said before."""
        until, before = monotonic() + seconds, self._entries.get(model)
        if before is None:
            if len(self._entries) >= _MOST:
                self._tidy()
            self._entries[model] = Rest(until, 1, reason)
            return
        if before.until <= monotonic():  # calls that were under way together are refused together: once
            before.count += 1
        before.until, before.reason = max(before.until, until), reason

    def until(self, model: str, reason: Reason) -> float:
        """The monotonic instant at which it may be used again as far as this reason goes; 0 when it may now."""
        if not self._entries:
            return 0.0
        return max(
            (
                rest.until
                for name in {"", model}
                if (rest := self._entries.get(name)) and rest.reason == reason
            ),
            default=0.0,
        )

    def count(self, model: str) -> int:
        """Refusals in a row."""
        rest = self._entries.get(model)
        return rest.count if rest is not None else 0

    def forgive(self, model: str) -> None:
        """An answer came: what it contradicts is over.

        A rest for a rate limit goes on, since the answer's call may have been sent before the limit was met.
        """
        now = monotonic()
        for name in {model, ""}:
            rest = self._entries.get(name)
            if rest is not None and (rest.reason == "refused" or rest.until <= now):
                del self._entries[name]

    def clear(self) -> None:
        """Forget all of them."""
        self._entries.clear()

    def current(self) -> dict[str, Rest]:
        """Those that are not over."""
        now = monotonic()
        return {model: rest for model, rest in self._entries.items() if rest.until > now}

    def _tidy(self) -> None:
        kept = self.current()
        self._entries = kept if len(kept) < _MOST else {}
