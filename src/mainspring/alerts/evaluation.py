"""The judgement of one reading: pure, so that its laws can be tested.

What is open stands in the database and comes in; what has been bad, but not for long enough to alert, is kept by
whoever evaluates, and starts anew when another process takes over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from mainspring.alerts.rules import Rule
    from mainspring.alerts.types import Reading


class Standing(NamedTuple):
    """What is known of a subject before a reading.

    `open` is whether an alert is; `since_us` since when it looks otherwise: bad, while none is open, or good, while
    one is. None where it does not.
    """

    open: bool
    since_us: int | None


class Verdict(NamedTuple):
    """What a reading leads to, and what is known of the subject after it."""

    action: Literal["open", "resolve", "keep", "none"]
    standing: Standing


def judge(rule: Rule, reading: Reading, standing: Standing, now_us: int) -> Verdict:
    """Whether an alert opens or resolves.

    It opens once the value has been bad for `lasting`, and resolves once it has been good for `resolve_after`; a value
    between the threshold and `recover` is neither. A clock that went back starts a wait anew.
    """
    fires = rule.fires(reading.value, reading.threshold)
    if not standing.open:
        if not fires:
            return Verdict("none", Standing(open=False, since_us=None))
        since = _since(standing, now_us)
        if now_us - since >= rule.lasting_us:
            return Verdict("open", Standing(open=True, since_us=None))
        return Verdict("none", Standing(open=False, since_us=since))
    good = not fires if reading.threshold is not None else rule.is_good(reading.value)
    if not good:
        return Verdict("keep", Standing(open=True, since_us=None))
    since = _since(standing, now_us)
    if now_us - since >= rule.resolve_after_us:
        return Verdict("resolve", Standing(open=False, since_us=None))
    return Verdict("keep", Standing(open=True, since_us=since))


def _since(standing: Standing, now_us: int) -> int:
    if standing.since_us is None or standing.since_us > now_us:
        return now_us
    return standing.since_us
