"""What the name of a Claude model says about the parameters that it takes.

Anthropic's models differ in the way thinking is asked for and in whether they accept sampling parameters at all. The
rules are cut at versions, so that a model that comes out tomorrow is treated as the newest of today. Other models that
are served over Anthropic's protocol have no version here and get the forms that are oldest and most widely known.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.providers.translate.types import Document

_NAME = re.compile(r"claude[-.](?:[a-z]+[-.])?(\d+)(?:[-.](\d{1,2}))?(?!\d)")
_NEWEST = (99, 0)
_THINKS = (3, 7)
_STRICT = (4, 1)
_ADAPTIVE = (4, 6)
_NO_SAMPLING = (4, 7)
_THINKS_UNASKED = (5, 0)

#: Thinking tokens for each effort, on models that are asked for a number of tokens.
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 28672}
_SMALLEST_BUDGET = 1024

Version = tuple[int, int]


def version(model: str) -> Version | None:
    """Major and minor version of a Claude model; None if the name is of another model."""
    name = model.lower()
    if "claude" not in name:
        return None
    match = _NAME.search(name)
    if match is None:
        return (
            _NEWEST  # `claude-mythos-preview`: names without a number are previews of the newest generation
        )
    return int(match[1]), int(match[2] or 0)


def takes_sampling(model: str) -> bool:
    """Whether `temperature`, `top_p` and `top_k` are accepted; newer models answer 400 to them."""
    number = version(model)
    return number is None or number < _NO_SAMPLING


def takes_strict(model: str) -> bool:
    """Whether a tool may be `strict`."""
    number = version(model)
    return number is None or number >= _STRICT


def takes_effort(model: str) -> bool:
    """Whether `output_config.effort` and adaptive thinking are accepted."""
    number = version(model)
    return number is not None and number >= _ADAPTIVE


def default_max_tokens(model: str) -> int:
    """Output tokens to allow when the caller set no limit: Anthropic requires one, and OpenAI's default is none."""
    number = version(model)
    if number is None:
        return 8192
    if number < (3, 5):
        return 4096
    return 8192 if number < _THINKS else 32_000


def thinking(effort: str, model: str, max_tokens: int) -> tuple[Document | None, str | None]:
    """How to ask a model for an effort.

    Args:
        effort: OpenAI's `reasoning_effort`.
        model: the provider's model name.
        max_tokens: the limit in force; a thinking budget must stay below it.

    Returns:
        The `thinking` object and `output_config.effort`; None for each that is left out.
    """
    number = version(model)
    if effort == "none":
        return ({"type": "disabled"} if number is not None and number >= _THINKS_UNASKED else None), None
    if number is not None and number >= _ADAPTIVE:
        named = {"minimal": "low", "xhigh": "high" if number < _NO_SAMPLING else "xhigh"}.get(effort, effort)
        return {"type": "adaptive"}, named
    budget = min(BUDGETS.get(effort, BUDGETS["medium"]), max_tokens // 2)
    if (number is not None and number < _THINKS) or budget < _SMALLEST_BUDGET:
        return None, None
    return {"type": "enabled", "budget_tokens": budget}, None


def effort_of(budget: float) -> str:
    """The effort whose budget is nearest from above: the inverse of `thinking` for budgets."""
    return next((name for name, tokens in BUDGETS.items() if budget <= tokens), "max")
