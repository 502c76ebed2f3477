"""Who was denied lately, by every process: read from the ledger, which has a row of some and the number of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.base.clock import now_us
from mainspring.base.errors import RateLimited
from mainspring.ledger.types import LedgerFilter

if TYPE_CHECKING:
    from mainspring.ledger import Ledger
    from mainspring.ledger.types import Inference

HOUR_US = 3_600_000_000
#: Rows that are looked at, the newest first: a page for people must not read a flood.
_MOST_ROWS = 2_000
_PAGE = 500


class Denied(msgspec.Struct):
    """One subject under one limit.

    Attributes:
        limit: the name of the setting.
        scope: `user`, `key`, `tenant` or `feature`.
        tenant: whose.
        subject: the name of the user or feature, the id of the key, or the tenant.
        denials: how often.
        last_us: when last.
    """

    limit: str
    scope: str
    tenant: str
    subject: str
    denials: int
    last_us: int


async def denied_lately(
    ledger: Ledger, *, tenant: str | None = None, since_us: int | None = None, most: int = 20
) -> list[Denied]:
    """Whom limits have held back, the most often first.

    Args:
        ledger: where denials are recorded.
        tenant: only theirs; None for all.
        since_us: from when on, in Unix microseconds; an hour ago by default.
        most: how many to name.
    """
    where = LedgerFilter(
        tenant=tenant, status="error", since_us=now_us() - HOUR_US if since_us is None else since_us
    )
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
    return sorted(found.values(), key=lambda one: (-one.denials, one.subject))[:most]


def _count(found: dict[tuple[str, str, str], Denied], row: Inference) -> None:
    assert row.extra is not None, "looked at before"
    limit = str(row.extra["limit"])
    scope = limit.rpartition("_")[2]
    subject = {"user": row.user, "feature": row.feature, "tenant": row.tenant}.get(scope, row.key_id) or ""
    one = found.setdefault(
        (limit, row.tenant, subject), Denied(limit, scope, row.tenant, subject, 0, row.received_us)
    )
    one.denials += 1 + int(row.extra.get("denied_unrecorded", 0))
    one.last_us = max(one.last_us, row.received_us)
