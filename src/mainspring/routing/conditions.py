"""The rules of a route: for which requests other targets are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mainspring.base.settings import ConditionSettings
    from mainspring.routing.types import Need, Needs

_NAMES = ("tenant", "user", "feature")
_MISSING = object()
#: No usual text has fewer tokens than its size suggests by this factor.
_SPREAD = 3


class Rule:
    """One `[[routes.NAME.when]]`.

    Args:
        number: its place in the route, from 1.
        settings: what it says.
    """

    __slots__ = ("_high", "_kinds", "_low", "_metadata", "_names", "_stream", "_tags", "says", "settings")

    def __init__(self, number: int, settings: ConditionSettings) -> None:
        self.settings = settings
        #: The rule in a few words.
        self.says = f"rule {number} ({_words(settings)})"
        self._stream = settings.stream
        self._names = tuple(
            (name, frozenset([wanted] if isinstance(wanted, str) else wanted))
            for name in _NAMES
            if (wanted := getattr(settings, name)) is not None
        )
        self._tags = tuple(settings.tags.items())
        self._metadata = tuple(settings.metadata.items())
        self._kinds: frozenset[Need] = frozenset(settings.needs)
        self._low, self._high = settings.min_input_tokens, settings.max_input_tokens

    def holds(self, needs: Needs) -> bool:
        """Whether a request is one of those that the rule is about. What is cheap to know is looked at first."""
        if self._stream is not None and needs.stream is not self._stream:
            return False
        for name, wanted in self._names:
            if getattr(needs, name) not in wanted:
                return False
        if self._tags and not _has(needs.tags, self._tags):
            return False
        if self._metadata and not _has(needs.metadata, self._metadata):
            return False
        if self._kinds and not self._kinds <= needs.kinds:
            return False
        return self._fits(needs)

    def takes_all_of(self, other: Rule) -> bool:
        """Whether every request that `other` is about is one that this rule takes."""
        theirs = dict(other._names)
        return (
            self._stream in (None, other._stream)
            and all(name in theirs and theirs[name] <= wanted for name, wanted in self._names)
            and _has(dict(other._tags), self._tags)
            and _has(dict(other._metadata), self._metadata)
            and self._kinds <= other._kinds
            and (self._low is None or (other._low is not None and self._low <= other._low))
            and (self._high is None or (other._high is not None and self._high >= other._high))
        )

    def _fits(self, needs: Needs) -> bool:
        low, high = self._low, self._high
        if low is None and high is None:
            return True
        # Most requests are decided by their size: to count takes 0.1 ms for a kilobyte.
        if low is not None and needs.most_input_tokens < low:
            return False
        if high is not None and low is None and needs.most_input_tokens <= high:
            return True
        rough = needs.rough_input_tokens
        if high is not None and rough > _SPREAD * high:
            return False
        if high is None and low is not None and rough > _SPREAD * low:
            return True
        tokens = needs.input_tokens
        return (low is None or tokens >= low) and (high is None or tokens <= high)


def _has(found: Mapping[str, Any], wanted: tuple[tuple[str, Any], ...]) -> bool:
    for key, value in wanted:
        there = found.get(key, _MISSING)
        # In Python true equals 1; in a request it does not.
        if there != value or isinstance(there, bool) is not isinstance(value, bool):
            return False
    return True


def _words(settings: ConditionSettings) -> str:
    words = []
    for name, value in settings.constraints().items():
        match name:
            case "metadata" | "tags":
                words += [f"{name}.{key}={_text(wanted)}" for key, wanted in value.items()]
            case "needs":
                words.append(f"needs {' and '.join(value)}")
            case "min_input_tokens":
                words.append(f"{value} tokens or more")
            case "max_input_tokens":
                words.append(f"{value} tokens or fewer")
            case "stream":
                words.append("streamed" if value else "not streamed")
            case _:
                words.append(f"{name}={value if isinstance(value, str) else '|'.join(value)}")
    return ", ".join(words)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
