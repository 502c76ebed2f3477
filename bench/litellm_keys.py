"""Keys for LiteLLM where it has no database: it asks `look_up`, and keeps the limits that come with a key.

Runs inside LiteLLM (`general_settings.custom_auth`), not here.
"""

from fastapi import Request
from litellm.proxy._types import UserAPIKeyAuth

MANY = 1_000_000_000
WIDE = {
    "user_rpm_limit": MANY,
    "rpm_limit": MANY,
    "team_rpm_limit": MANY,
    "tpm_limit": MANY,
    "max_parallel_requests": MANY,
}
#: What differs for the keys that show that a limit is kept.
TIGHT = {
    "sk-user": {"user_rpm_limit": 3},
    "sk-key": {"rpm_limit": 3},
    "sk-tenant": {"team_rpm_limit": 3},
    "sk-tokens": {"tpm_limit": 1200},
    "sk-concurrency": {"max_parallel_requests": 1},
    "sk-wide": {},
}


async def look_up(_request: Request, api_key: str) -> UserAPIKeyAuth:
    """The limits of a key; an unknown one is refused by the KeyError."""
    limits = WIDE | TIGHT[api_key]
    return UserAPIKeyAuth(api_key=api_key, user_id=f"user-{api_key}", team_id=f"team-{api_key}", **limits)
