"""Which targets can serve a request at all, and what speaks against the others.

Only what is known speaks against a target: a model that the tables do not know is never passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from mainspring.providers.capabilities import Capability
from mainspring.routing.types import Need, Needs, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Our counts of tokens are estimates: what passes the context by less than this may still fit.
_SURELY = 1.3
_WORDS: dict[Need, str] = {"tools": "no tools", "vision": "no vision", "json_schema": "no JSON schema"}


class Candidate(msgspec.Struct, frozen=True):
    """A target of a route, as a strategy sees it.

    Attributes:
        target: where a call would go.
        weight: its share under `weighted`.
        capability: what is known of the model.
        lacks: what it surely cannot do.
    """

    target: Target
    weight: float
    capability: Capability
    lacks: frozenset[Need]


class Objection(msgspec.Struct, frozen=True):
    """What speaks against a target for one request.

    Attributes:
        sure: whether it cannot serve it at all; else it may, and is asked last.
        need: which need it does not meet.
        reason: in a few words.
    """

    sure: bool
    need: Literal["tools", "vision", "json_schema", "context", "output"]
    reason: str


def candidate(target: Target, weight: float, capability: Capability) -> Candidate:
    """A candidate with what it lacks."""
    can = {"tools": capability.tools, "vision": capability.vision, "json_schema": capability.json_schema}
    lacks = frozenset(need for need in _WORDS if can[need] is False)
    return Candidate(target=target, weight=weight, capability=capability, lacks=lacks)


def objection(candidate: Candidate, needs: Needs) -> Objection | None:
    """What speaks against a candidate; None is nothing."""
    if candidate.lacks:
        missing = sorted(candidate.lacks & needs.kinds)
        if missing:
            return Objection(
                sure=True, need=missing[0], reason=" and ".join(_WORDS[need] for need in missing)
            )
    known = candidate.capability
    if known.max_output_tokens is not None and (needs.output_tokens or 0) > known.max_output_tokens:
        reason = f"answers have {known.max_output_tokens} tokens at most, {needs.output_tokens} are asked for"
        return Objection(sure=True, need="output", reason=reason)
    if known.context_tokens is not None:
        return _too_long(known.context_tokens, needs)
    return None


def _too_long(context: int, needs: Needs) -> Objection | None:
    if needs.most_input_tokens + (needs.output_tokens or 0) <= context:
        return None
    asked, answered = needs.input_tokens, needs.output_tokens or 0
    if asked + answered <= context:
        return None
    if asked <= _SURELY * context:
        return Objection(sure=False, need="context", reason=f"may be too long for {context} tokens")
    return Objection(sure=True, need="context", reason=f"takes {context} tokens, these are about {asked}")


def roomy_bytes(candidates: Iterable[Candidate]) -> float:
    """Up to which size a request surely fits every candidate, whatever is in it."""
    contexts = [c.capability.context_tokens for c in candidates if c.capability.context_tokens is not None]
    # A reference to an image or a file takes 36 bytes at least, and is charged like 1800 tokens at most.
    return min(contexts) / 50 if contexts else float("inf")
