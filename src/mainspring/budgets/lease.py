"""What a process holds of one budget in one window, in memory. It knows no database.

`held` is what the database has given and was not settled yet, `open` what calls under way have reserved of it. A call
settles by taking its true cost from `held` and its reservation from `open`, so what it did not use is free at once.
`held` may be less than `open`: a call has cost more than it had reserved, or the lease was taken away; then the next
call must first be given as much as is missing.
"""

from __future__ import annotations

import asyncio

#: Seconds for which a "no" of the database is believed.
_DENIED_SECONDS = 0.2
#: Seconds of demand that are asked for at once.
AHEAD_SECONDS = 2.0
#: The first grant, in calls like the first.
_FIRST_CALLS = 8


class Lease:
    """One process's part of one budget in one window.

    Args:
        budget_id: which budget.
        room_us: which window.
    """

    __slots__ = (
        "_demand_since",
        "_demanded_nusd",
        "_demanded_tokens",
        "asking",
        "budget_id",
        "denied_until",
        "free_nusd",
        "free_tokens",
        "held_nusd",
        "held_tokens",
        "lock",
        "open_nusd",
        "open_tokens",
        "queued",
        "recall_after",
        "room_us",
        "used",
        "wants",
    )

    def __init__(self, budget_id: str, room_us: int) -> None:
        self.budget_id = budget_id
        self.room_us = room_us
        self.held_nusd = self.held_tokens = 0
        self.open_nusd = self.open_tokens = 0
        #: Rows that were settled here and are not known to be committed.
        self.queued = 0
        #: What was free beyond the lease when the database was last asked; None before.
        self.free_nusd: int | None = None
        self.free_tokens: int | None = None
        self.denied_until = 0.0
        #: When another recall makes sense.
        self.recall_after = 0.0
        #: When it was last reserved from.
        self.used = 0.0
        #: Held while the database is asked: a lease is not ended while another grant is on its way.
        self.lock = asyncio.Lock()
        self.asking: asyncio.Task[None] | None = None
        self.wants: list[tuple[int, int]] = []
        self._demand_since = 0.0
        self._demanded_nusd = self._demanded_tokens = 0

    def take(self, nusd: int, tokens: int, now: float) -> bool:
        """Reserve, if there is enough. What costs nothing always passes."""
        if nusd and self.held_nusd - self.open_nusd < nusd:
            return False
        if tokens and self.held_tokens - self.open_tokens < tokens:
            return False
        self.open_nusd += nusd
        self.open_tokens += tokens
        self._demanded_nusd += nusd
        self._demanded_tokens += tokens
        self.used = now
        return True

    def release(self, nusd: int, tokens: int) -> None:
        """Give a reservation up."""
        self.open_nusd -= nusd
        self.open_tokens -= tokens

    def settle(self, nusd: int, tokens: int) -> None:
        """Take from the lease what a call has cost; its reservation is released apart."""
        self.held_nusd -= nusd
        self.held_tokens -= tokens
        self.queued += 1

    def grant(self, nusd: int, tokens: int) -> None:
        """Have more."""
        self.held_nusd += nusd
        self.held_tokens += tokens

    def lose(self) -> None:
        """Have nothing any more; what is open is missing until it is given again."""
        self.held_nusd = self.held_tokens = 0

    def idle(self) -> tuple[int, int]:
        """What no call has reserved."""
        return max(0, self.held_nusd - self.open_nusd), max(0, self.held_tokens - self.open_tokens)

    def is_short(self, nusd: int, tokens: int, now: float) -> bool:
        """Whether the database said a moment ago that there is not so much."""
        if now >= self.denied_until:
            return False
        free_nusd, free_tokens = self.free_nusd, self.free_tokens
        if nusd and free_nusd is not None and nusd > self.held_nusd - self.open_nusd + free_nusd:
            return True
        return (
            bool(tokens)
            and free_tokens is not None
            and tokens > self.held_tokens - self.open_tokens + free_tokens
        )

    def deny(self, now: float) -> None:
        """Believe for a moment that no more is to be had."""
        self.denied_until = now + _DENIED_SECONDS

    def lacks(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """What the waiting calls lack: the smallest of them, all together, and all with what comes next.

        Amounts are beyond what is idle, and include what open calls have taken too much.
        """
        free_nusd, free_tokens = self.held_nusd - self.open_nusd, self.held_tokens - self.open_tokens
        wants = self.wants or [(0, 0)]
        least = min(n for n, _ in wants) - free_nusd, min(t for _, t in wants) - free_tokens
        whole = sum(n for n, _ in wants) - free_nusd, sum(t for _, t in wants) - free_tokens
        ahead = max(whole[0], self._demanded_nusd), max(whole[1], self._demanded_tokens)
        return least, whole, ahead

    def next_demand(self, now: float) -> None:
        """Look ahead from now on by what is asked for from now on."""
        seconds = now - self._demand_since
        if self._demand_since == 0.0:
            first = max(self.wants, default=(0, 0))
            self._demanded_nusd, self._demanded_tokens = first[0] * _FIRST_CALLS, first[1] * _FIRST_CALLS
        elif seconds > 0:
            scale = AHEAD_SECONDS / max(seconds, 0.25)
            self._demanded_nusd = int(self._demanded_nusd * scale)
            self._demanded_tokens = int(self._demanded_tokens * scale)
        self._demand_since = now

    def demand_counted(self) -> None:
        """Begin to count what is asked for anew."""
        self._demanded_nusd = self._demanded_tokens = 0
