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
#: No usual text has more or fewer tokens than its size suggests by this factor.
_SPREAD = 2
_WORDS: dict[Need, str] = {"tools": "no tools", "vision": "no vision", "json_schema": "no JSON schema"}


class Candidate(msgspec.Struct, frozen=True):
    """A target of a route, as a strategy sees it.

    Attributes:
        target: where a call would go.
        name: `provider/model`.
        weight: its share under `weighted`.
        share: the same in words.
        capability: what is known of the model.
        lacks: what it surely cannot do.
    """

    target: Target
    name: str
    weight: float
    share: str
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


def candidate(target: Target, weight: float, whole: float, capability: Capability) -> Candidate:
    """A candidate with its share of all weights and with what it lacks."""
    can = {"tools": capability.tools, "vision": capability.vision, "json_schema": capability.json_schema}
    return Candidate(
        target=target,
        name=str(target),
        weight=weight,
        share=f"weight {weight:g} of {whole:g}" if weight > 0 else "weight 0, a backup",
        capability=capability,
        lacks=frozenset(need for need in _WORDS if can[need] is False),
    )


def objection(candidate: Candidate, needs: Needs, *, count: bool) -> Objection | None:
    """What speaks against a candidate; None is nothing.

    Args:
        candidate: the target.
        needs: what the request needs.
        count: whether tokens are counted where the size leaves it open; if not, it stays in doubt.
    """
    if candidate.lacks and needs.kinds:
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
        return _too_long(known.context_tokens, needs, count=count)
    return None


def _too_long(context: int, needs: Needs, *, count: bool) -> Objection | None:
    most = needs.most_input_tokens
    answer = needs.output_tokens or 0
    if most + answer <= context:
        return None
    rough = needs.rough_input_tokens
    # Most requests are decided by their size: to count takes 0.1 ms for a kilobyte.
    if _SPREAD * rough + answer <= context:
        return None
    if not count and rough <= _SPREAD * context:
        return Objection(sure=False, need="context", reason=f"may be too long for {context} tokens")
    asked = rough if rough > 2 * _SPREAD * context else needs.input_tokens
    if asked + answer <= context:
        return None
    if asked <= _SURELY * context:
        return Objection(sure=False, need="context", reason=f"may be too long for {context} tokens")
    return Objection(sure=True, need="context", reason=f"takes {context} tokens, these are about {asked}")


def roomy_bytes(candidates: Iterable[Candidate]) -> float:
    """Up to which size a request surely fits every candidate, whatever is in it."""
    contexts = [c.capability.context_tokens for c in candidates if c.capability.context_tokens is not None]
    # No tokenizer makes more tokens than bytes; four times that leaves room for images and files that are only named.
    return min(contexts) / 4 if contexts else float("inf")
