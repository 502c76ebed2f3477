"""The section about limits: how much is let through, for whom."""

from __future__ import annotations

from pydantic import Field

from mainspring.base.settings.section import Section


def _rate(whose: str, default: float = 0) -> float:
    text = f"Requests a second of one {whose}; 0 for no limit."
    found: float = Field(default=default, ge=0, allow_inf_nan=False, description=text)
    return found


def _tokens(whose: str) -> int:
    text = f"Tokens a minute of one {whose}, in and out; 0 for no limit."
    found: int = Field(default=0, ge=0, description=text)
    return found


def _open(whose: str) -> int:
    text = f"Requests under way at once of one {whose}; 0 for no limit."
    found: int = Field(default=0, ge=0, description=text)
    return found


class LimitsSettings(Section):
    """`[limits]`: what is let through. A request passes only if every limit that is about it has room."""

    rps_per_user: float = _rate("user", 10)
    rps_per_key: float = _rate("key that has no limit of its own")
    rps_per_tenant: float = _rate("tenant")
    rps_per_feature: float = _rate("feature of a tenant")
    tokens_per_minute_per_user: int = _tokens("user")
    tokens_per_minute_per_key: int = _tokens("key that has no limit of its own")
    tokens_per_minute_per_tenant: int = _tokens("tenant")
    tokens_per_minute_per_feature: int = _tokens("feature of a tenant")
    concurrency_per_user: int = _open("user")
    concurrency_per_key: int = _open("key that has no limit of its own")
    concurrency_per_tenant: int = _open("tenant")
    concurrency_per_feature: int = _open("feature of a tenant")
    burst_seconds: float = Field(
        default=1,
        gt=0,
        allow_inf_nan=False,
        description="How much of a limit on requests may come at once, in seconds of its rate; one request always may.",
    )
    tokens_burst_seconds: float = Field(
        default=60, gt=0, allow_inf_nan=False, description="The same for limits on tokens."
    )
