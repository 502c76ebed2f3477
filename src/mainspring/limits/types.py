"""What others see of limits: the grant that a request holds, and the state of things for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from mainspring.base.clock import iso, now_us
from mainspring.store.shared import Ask, SharedStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainspring.limits.rules import Rule
    from mainspring.store.shared import Shared, Taken

_NAMES = [
    (
        *(f"x-ratelimit-{what}-{kind}".encode() for what in ("limit", "remaining", "reset")),
        *(f"anthropic-ratelimit-{kind}-{what}".encode() for what in ("limit", "remaining", "reset")),
    )
    for kind in ("requests", "tokens")
]
#: A whole unit that arithmetic has made a hair less of is whole.
_ROUNDING = 1e-6


class RuleStatus(msgspec.Struct, frozen=True):
    """A limit in force. `limit` is requests a second, tokens a minute or requests at once."""

    name: str
    kind: str
    scope: str
    limit: float
    burst: float


class LimitsStatus(msgspec.Struct, frozen=True):
    """The limits in force, and how the state that they share is doing, as this process sees it."""

    rules: list[RuleStatus]
    shared: SharedStatus


class Grant:
    """What a request was granted, or denied. It holds room in the meters until `release`, which is called once or more.

    The last three attributes are there only where something was denied.

    Attributes:
        counts_tokens: whether a limit wants to know how many tokens were used.
        denied: the limit that had no room, the one that will have it last; None where all had.
        denied_key: the name of its meter.
        wait_us: in how many microseconds it may have room; infinite where that depends on others being done.
        unrecorded: denials of the same kind that were counted and not recorded since the last that was.
    """

    __slots__ = (
        "_asks",
        "_holding",
        "_rules",
        "_shared",
        "_taken",
        "_tokens",
        "counts_tokens",
        "denied",
        "denied_key",
        "unrecorded",
        "wait_us",
    )

    def __init__(
        self,
        shared: Shared,
        rules: Sequence[Rule],
        asks: Sequence[Ask],
        taken: Taken,
        *,
        counts_tokens: bool,
    ) -> None:
        self._shared = shared
        self._rules = rules
        self._asks = asks
        self._taken = taken
        self._tokens = 0
        self._holding = taken.admitted
        self.counts_tokens = counts_tokens
        self.denied: Rule | None = None
        if not taken.admitted:
            index, self.wait_us = self._shortage()
            self.denied, self.denied_key = rules[index], asks[index].key
            self.unrecorded = 0

    def settle(self, tokens: int) -> None:
        """Say how many tokens were really used. Counted at `release`."""
        self._tokens = tokens

    def release(self) -> None:
        """Give back what was held, and count what was used. Again has no effect."""
        if not self._holding:
            return
        self._holding = False
        back = []
        for ask in self._asks:
            if ask.reserve:
                drains = ask.allowance.drains
                back.append(Ask(ask.key, ask.allowance, self._tokens, ask.reserve) if drains else ask)
        if back:
            self._shared.give(back)

    def headers(self, *, anthropic: bool) -> list[tuple[bytes, bytes]]:
        """The limits on requests and on tokens that have least room, as `x-ratelimit-*`.

        Args:
            anthropic: whether to say it under Anthropic's names too.
        """
        headers: list[tuple[bytes, bytes]] = []
        for names, tightest in zip(_NAMES, self._tightest(), strict=True):
            if tightest is None:
                continue
            rule, reset_us = tightest
            allowance = rule.allowance
            left = int(allowance.capacity - reset_us / allowance.emission_us + _ROUNDING)
            remaining = b"%d" % (left if left > 0 else 0)  # noqa: FURB136 - max() takes three times as long
            headers += (
                (names[0], rule.most),
                (names[1], remaining),
                (names[2], _duration(reset_us)),
            )
            if anthropic:
                # Rounded up, so that it is whole again by then.
                when = iso(now_us() + int(reset_us) + 999_999)[:19] + "Z"
                headers += ((names[3], rule.most), (names[4], remaining), (names[5], when.encode()))
        return headers

    def _shortage(self) -> tuple[int, float]:
        """Which limit will have room last, and in how many microseconds."""
        taken = self._taken
        waits: list[tuple[float, float, int]] = []
        for index, ask in enumerate(self._asks):
            emission, capacity = ask.allowance.emission_us, ask.allowance.capacity
            if taken.parts != 1:
                emission, capacity = emission * taken.parts, max(1.0, capacity / taken.parts)
            level, need = taken.levels[index], min(ask.charge + ask.reserve, capacity)
            short = level + (taken.held[index] + need - capacity) * emission
            # What is held does not drain: somebody has to be done first.
            waits.append(
                (short if short <= level else math.inf, short, -index) if short > 1 else (0, short, -index)
            )
        wait, _, index = max(waits)
        return -index, wait

    def _tightest(self) -> list[tuple[Rule, float] | None]:
        """Of the limits on requests, and of those on tokens, the one with least room; and when it is whole again.

        That is in microseconds.
        """
        found: list[tuple[Rule, float] | None] = [None, None]
        fullest = [-1.0, -1.0]
        taken = self._taken
        for rule, level, held in zip(self._rules, taken.levels, taken.held, strict=True):
            place = rule.place
            if place >= 0:
                reset = level + held * taken.parts * rule.allowance.emission_us if held else level
                full = reset / rule.whole_us
                if full > fullest[place]:
                    fullest[place] = full
                    found[place] = rule, reset
        return found


def _duration(us: float) -> bytes:
    """As OpenAI writes it: `120ms`, `1.5s`, `6m0s`."""
    milliseconds = math.ceil(us / 1000)
    if milliseconds < 1000:  # noqa: PLR2004 - a second
        return b"%dms" % milliseconds
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:g}s"
    return (f"{minutes}m{seconds}" if minutes else seconds).encode()
