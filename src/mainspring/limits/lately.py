"""Who was denied lately, by every process: read from the ledger, which has a row of some and the number of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.clock import now_us
from mainspring.base.errors import RateLimited
from mainspring.ledger.types import LedgerFilter
from mainspring.limits.denials import Denied, subject_of

if TYPE_CHECKING:
    from mainspring.ledger import Ledger
    from mainspring.ledger.types import Inference
    from mainspring.limits.service import Limits

HOUR_US = 3_600_000_000
#: Rows that are looked at, the newest first: a page for people must not read a flood.
_MOST_ROWS = 2_000
_PAGE = 500


async def denied_lately(
    ledger: Ledger, limits: Limits, *, tenant: str | None = None, since_us: int | None = None, most: int = 20
) -> list[Denied]:
    """Whom limits have held back, the most often first.

    Args:
        ledger: where denials are recorded.
        limits: of this process, which knows of some that are not recorded; of those in others no more is known than
            their rows say.
        tenant: only theirs; None for all.
        since_us: from when on, in Unix microseconds; an hour ago by default.
        most: how many to name.
    """
    since = now_us() - HOUR_US if since_us is None else since_us
    where = LedgerFilter(tenant=tenant, status="error", since_us=since)
    found: dict[tuple[str, str, str], Denied] = {}
    after: str | None = None
    for _ in range(_MOST_ROWS // _PAGE):
        page = await ledger.page(where, limit=_PAGE, after=after)
        for row in page.items:
            if row.error == RateLimited.code and row.extra is not None and "limit" in row.extra:
                _count(found, row)
        after = page.next
        if after is None:
            break
    for one in limits.unrecorded():
        if one.last_us >= since and tenant in {None, one.tenant}:
            _add(found, one)
    return sorted(found.values(), key=lambda one: (-one.denials, one.subject))[:most]


def _count(found: dict[tuple[str, str, str], Denied], row: Inference) -> None:
    assert row.extra is not None, "looked at before"
    limit = str(row.extra["limit"])
    scope = limit.rpartition("_")[2]
    whom = subject_of(scope, tenant=row.tenant, key_id=row.key_id, user=row.user, feature=row.feature)
    denials = 1 + int(row.extra.get("denied_unrecorded", 0))
    _add(found, Denied(limit, scope, row.tenant, whom, denials, row.received_us))


def _add(found: dict[tuple[str, str, str], Denied], more: Denied) -> None:
    empty = Denied(more.limit, more.scope, more.tenant, more.subject, 0, 0)
    one = found.setdefault((more.limit, more.tenant, more.subject), empty)
    one.denials += more.denials
    one.last_us = max(one.last_us, more.last_us)
