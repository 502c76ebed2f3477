"""What is in force: limits, budgets against the ledger, and who is told when something happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.clock import iso
from mainspring.base.errors import SecretError
from mainspring.base.money import format_usd
from mainspring.base.secrets import fetch
from mainspring.base.settings.secrets import kind_of
from mainspring.cli.checking.findings import absent, doubtful, failed, good
from mainspring.limits.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mainspring.base.settings import Settings
    from mainspring.budgets import Budget
    from mainspring.cli.checking.findings import Finding
    from mainspring.web.runtime import Runtime

_PAGE = 200
#: So many sums that differ are told one by one.
_MOST = 10


def limits(settings: Settings) -> Finding:
    """The limits of the configuration, in words."""
    words = [rule.words for rule in Rules(settings.limits).all()]
    if not words:
        return absent("limits", "none is set", "Set one in [limits], such as rps_per_user = 10.")
    return good("limits", "; ".join(words))


async def budgets(runtime: Runtime) -> list[Finding]:
    """Whether what budgets have counted is what the ledger says, to the nano-dollar, and where they lead at the cap."""
    found: list[Finding] = []
    after: str | None = None
    budgets: list[Budget] = []
    while True:
        page = await runtime.budgets.list(limit=_PAGE, after=after)
        budgets += [standing.budget for standing in page.items]
        after = page.next
        if after is None:
            break
    if not budgets:
        return [
            absent(
                "budgets",
                "none",
                "`mainspring budgets create tenant=default --usd 5 --window day` makes one.",
            )
        ]
    routes = {*runtime.settings.routes, "default"}
    for budget in budgets:
        if budget.step_down is not None and budget.step_down not in routes:
            remedy = (
                f"Add the route, or name another: `mainspring budgets change {budget.id} --step-down ROUTE`."
            )
            found.append(
                failed(
                    f"budget {budget.id}",
                    f"at its cap it steps down to {budget.step_down!r}, which is no route",
                    remedy,
                )
            )
    compared = await runtime.budgets.check()
    wrong = [one for one in compared if one.is_one]
    found += [
        failed(
            f"budget {one.budget.id}",
            f"it has counted {_sum(one.nusd, one.tokens)} from {iso(one.bucket_us)} on,"
            f" but the ledger has {_sum(one.ledger_nusd, one.ledger_tokens)}",
            "Keep a copy of the database and report it: this is a defect of Mainspring, or rows were changed by hand."
            " A budget that is deleted and made anew counts from then on.",
        )
        for one in wrong[:_MOST]
    ]
    if len(wrong) > _MOST:
        found.append(failed("budgets", f"{len(wrong) - _MOST} more sums differ from the ledger", ""))
    return found or [
        good("budgets", f"{len(budgets)}, whose sums are those of the ledger ({len(compared)} compared)")
    ]


def tracking(settings: Settings) -> Iterator[Finding]:
    """Where our own errors go, if anywhere."""
    reference = settings.telemetry.sentry_dsn
    if reference is None or kind_of(reference) == "literal":
        return
    try:
        fetch(reference)
    except SecretError as error:
        yield doubtful("telemetry.sentry_dsn", f"errors are not reported: {error.message}", error.remedy)


async def alerts(runtime: Runtime) -> list[Finding]:
    """Whether messages can be sent, as far as that is seen without sending one."""
    found = []
    for channel, problem in (await runtime.alerts.problems()).items():
        subject = f"alerts to {channel}"
        if problem is None:
            remark = f"its references lead to something; `mainspring alerts test {channel}` sends a message"
            found.append(good(subject, remark))
        else:
            remedy = f"Mend [alerts.channels.{channel}], or set what its references name."
            found.append(failed(subject, problem, remedy))
    if not found:
        remedy = "Add [alerts.channels.NAME]; alerts are shown in the console all the same."
        return [absent("alerts", "nobody is told", remedy)]
    return found


def _sum(nusd: int, tokens: int) -> str:
    return f"{format_usd(nusd)} and {tokens:,} tokens"
