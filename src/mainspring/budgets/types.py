"""What others see of budgets. Amounts of money are nano-dollars, times Unix microseconds."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

Kind = Literal["key", "tenant", "user", "feature", "model"]
Window = Literal["day", "month", "rolling", "total"]
Policy = Literal["refuse", "step_down", "queue"]

KINDS: tuple[Kind, ...] = ("key", "tenant", "user", "feature", "model")
WINDOWS: tuple[Window, ...] = ("day", "month", "rolling", "total")
POLICIES: tuple[Policy, ...] = ("refuse", "step_down", "queue")
#: Per cent of the cap at which a fact is noted.
USUAL_THRESHOLDS = (50, 80, 100)


class Budget(msgspec.Struct, kw_only=True, frozen=True):
    """A cap. Field names are column names.

    Attributes:
        id: of a budget that came with a key, the id of that key.
        name: for people; named in refusals.
        kind: what it is about, and `subject` which one: a key (and its successors by rotation), a tenant, a user, a
            feature, or a model as `provider/model`.
        tenant: whose answers count; None is everybody's. Of a key or tenant, its own.
        nusd: most money in a window; None is no such cap, 0 lets only through what costs nothing.
        tokens: most tokens in a window, of all kinds together; None is no such cap.
        window: `day` and `month` turn over at midnight UTC, `rolling` looks back over `period_us`, `total` never ends.
        policy: at the cap, refuse; or go to the route `step_down`; or wait up to `queue_seconds` for room.
        thresholds: per cent of the cap at which a crossing is noted, ascending.
        starts_us: answers whose id is from this instant on count.
    """

    id: str
    name: str
    kind: Kind
    subject: str
    tenant: str | None = None
    nusd: int | None = None
    tokens: int | None = None
    window: Window
    period_us: int | None = None
    policy: Policy = "refuse"
    step_down: str | None = None
    queue_seconds: float = 0.0
    thresholds: tuple[int, ...] = USUAL_THRESHOLDS
    created_us: int
    starts_us: int
    deleted_us: int | None = None
    grants: int = 0
    recalls: int = 0


class Standing(msgspec.Struct, kw_only=True):
    """How a budget stands in its current window.

    Attributes:
        budget: which.
        window_us: where the window begins (or the budget, if later).
        ends_us: when it turns over; None for rolling and total ones.
        nusd: spent money, by rows of the ledger.
        tokens: spent tokens.
        answers: rows.
        held_nusd: what processes hold of the rest, reserved or ready to be.
        held_tokens: the same in tokens.
        crossed: thresholds that were crossed in this window.
    """

    budget: Budget
    window_us: int
    ends_us: int | None
    nusd: int = 0
    tokens: int = 0
    answers: int = 0
    held_nusd: int = 0
    held_tokens: int = 0
    crossed: tuple[int, ...] = ()

    @property
    def share(self) -> float:
        """What of the cap is spent: the larger of money and tokens; 1 is all."""
        budget = self.budget
        shares = [
            spent / cap if cap else float(spent > 0)
            for spent, cap in ((self.nusd, budget.nusd), (self.tokens, budget.tokens))
            if cap is not None
        ]
        return max(shares, default=0.0)


class BudgetPage(msgspec.Struct):
    """A page of budgets, newest first; `next` is the id to pass as `after`, None on the last page."""

    items: list[Standing]
    next: str | None = None


class Crossing(msgspec.Struct, kw_only=True, frozen=True):
    """A budget that has reached a threshold in its current window.

    Attributes:
        budget: its id.
        subject: what it is about, such as `user=ann`.
        tenant: whose it is; None is nobody's in particular.
        unit: `usd` (amounts in nano-dollars) or `tokens`: the one of which more is gone.
        spent: how much.
        cap: of how much.
        window_us: where the window begins; of a rolling or total one, where the budget begins.
        threshold: the highest per cent that was reached.
    """

    budget: str
    subject: str
    tenant: str | None
    unit: Literal["usd", "tokens"]
    spent: int
    cap: int
    window_us: int
    threshold: int


class Difference(msgspec.Struct, kw_only=True, frozen=True):
    """What a budget has counted in one slice of its window, against the rows of the ledger."""

    budget: Budget
    bucket_us: int
    nusd: int
    ledger_nusd: int
    tokens: int
    ledger_tokens: int

    @property
    def is_one(self) -> bool:
        """Whether they differ."""
        return self.nusd != self.ledger_nusd or self.tokens != self.ledger_tokens


class Holder(NamedTuple):
    """A process that may hold leases."""

    id: str
    host: str
    pid: int
    started: str
    beat: int


class Room(NamedTuple):
    """What is left of a budget: spent, held by all together, and by how many others."""

    nusd: int
    tokens: int
    held_nusd: int
    held_tokens: int
    others: int
