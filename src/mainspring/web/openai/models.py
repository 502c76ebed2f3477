"""`GET /v1/models`: what a key may call, in the shape of either protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.base.errors import NotFound
from mainspring.gateway import allowed

if TYPE_CHECKING:
    from mainspring.keys import Principal
    from mainspring.web.runtime import Runtime

_EPOCH = "1970-01-01T00:00:00Z"


def names_for(runtime: Runtime, principal: Principal) -> list[str]:
    """Routes first, then every model that a provider has told of, as far as the key may use them."""
    names = [*runtime.gateway.planner.route_names(), *runtime.providers.models()]
    listed = principal.models or frozenset()
    names += sorted(name for name in listed if name not in names and not name.endswith("/*"))
    return [name for name in names if allowed(principal, name)]


def models_answer(runtime: Runtime, principal: Principal, wanted: str | None, *, anthropic: bool) -> bytes:
    """The list, or one entry of it.

    Args:
        runtime: of this process.
        principal: who asks.
        wanted: one name, or None for the list.
        anthropic: whether the caller speaks Anthropic's protocol.

    Raises:
        NotFound: there is no such model for this key.
    """
    names = names_for(runtime, principal)
    entry = _anthropic_entry if anthropic else _openai_entry
    if wanted is not None:
        if wanted not in names:
            raise NotFound(
                f"There is no model {wanted[:200]!r} for this key.",
                remedy="GET /v1/models lists them.",
                param="model",
            )
        return msgspec.json.encode(entry(wanted))
    data = [entry(name) for name in names]
    if anthropic:
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return msgspec.json.encode({"data": data, "has_more": False, **ends})
    return msgspec.json.encode({"object": "list", "data": data})


def _openai_entry(name: str) -> dict[str, Any]:
    owner = name.partition("/")[0] if "/" in name else "mainspring"
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}


def _anthropic_entry(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _EPOCH}
