"""What a key may say of itself."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from mainspring.base.clock import LATEST_US
from mainspring.base.errors import InvalidRequest

if TYPE_CHECKING:
    from mainspring.keys.types import Key

ROLES = ("admin", "member")
WINDOWS = ("day", "month", "total")
LONGEST_NAME = 200
#: A name has a visible character and no control characters.
NAME_PATTERN = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"
MOST_MODELS = 1000
MOST_USD = 1_000_000_000
_name_matches = re.compile(NAME_PATTERN).fullmatch


def checked(key: Key) -> Key:
    """The key, if it can be.

    Raises:
        InvalidRequest: it cannot; `param` names the field.
    """
    _name("name", key.name)
    _name("tenant", key.tenant)
    if key.role not in ROLES:
        raise InvalidRequest(f"There is no role {key.role!r}.", remedy="Use admin or member.", param="role")
    if key.expires_us is not None and not key.created_us < key.expires_us <= LATEST_US:
        raise InvalidRequest(
            "A key expires later than now, and before the year 10000.",
            remedy="Choose another time, or none for a key that does not expire.",
            param="expires",
        )
    if key.models is not None:
        if not key.models or len(key.models) > MOST_MODELS:
            raise InvalidRequest(
                f"A list of models has 1 to {MOST_MODELS} names.",
                remedy="Leave it out to allow all.",
                param="models",
            )
        for model in key.models:
            _name("models", model)
    if key.settings is not None:
        _limits(key.settings)
    return key


def _name(field: str, value: str) -> None:
    if len(value) > LONGEST_NAME or not _name_matches(value):
        raise InvalidRequest(
            f"{field} must be 1 to {LONGEST_NAME} printable characters.",
            remedy="Choose another.",
            param=field,
        )


def _limits(settings: dict[str, object]) -> None:
    rps = settings.get("rps")
    if rps is not None and not _positive(rps):
        raise InvalidRequest("rps must be a number above 0.", param="rps")
    for name in ("tokens_per_minute", "concurrency"):
        most = settings.get(name)
        if most is not None and not (isinstance(most, int) and _positive(most)):
            raise InvalidRequest(f"{name} must be a whole number above 0.", param=name)
    budget = settings.get("budget")
    if budget is None:
        return
    if not isinstance(budget, dict) or set(budget) != {"usd", "window"} or not _positive(budget["usd"]):
        raise InvalidRequest("A budget is a number of usd above 0 and a window.", param="budget")
    if budget["usd"] > MOST_USD:
        raise InvalidRequest("A budget is at most a thousand million dollars.", param="budget")
    if budget["window"] not in WINDOWS:
        raise InvalidRequest("A budget's window is day, month or total.", param="budget")


def _positive(value: object) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    )
