"""The sections about routes: where a call may go, in which order, how long it may take, and what if nothing answers."""

from __future__ import annotations

import math
import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from mainspring.base.settings.section import Section

Strategy = Literal["failover", "weighted", "cheapest", "fastest"]
Need = Literal["tools", "vision", "json_schema"]
#: Where a heuristic stands: `module:function`.
_HEURISTIC = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
#: Ways to say when a hedge goes out; the number is the quantile.
QUANTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class TimeoutSettings(Section):
    """`[routes.NAME.timeouts]`, in seconds."""

    connect: float = Field(default=5, gt=0, description="To connect to a target.")
    first_token: float = Field(
        default=60, gt=0, description="To the first content of a stream, for each target."
    )
    idle: float = Field(default=60, gt=0, description="Between two pieces of a stream.")
    total: float = Field(default=600, gt=0, description="For the whole request, all targets together.")


class RetrySettings(Section):
    """`[routes.NAME.retry]`: how often a call that failed is made again, and when."""

    attempts: int | None = Field(
        default=None,
        ge=1,
        le=20,
        description="Most calls for one request, all targets together; else one for each target and one more.",
    )
    backoff: float = Field(
        default=0.25,
        ge=0,
        le=60,
        description="Seconds before the same target is asked again: drawn at random from 0 to this, which doubles "
        "with every call. The provider's Retry-After is honoured. Another target is asked at once.",
    )
    budget: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Most repeated calls to a target that keeps failing, as a share of its requests.",
    )


class HedgeSettings(Section):
    """`[routes.NAME.hedge]`: a second target is asked when the first is slow; who answers first, answers.

    Off where neither the route nor `[defaults]` has it; `hedge = false` switches off what the defaults say.
    """

    after: str | float = Field(
        default="p95",
        description='When: seconds, or "p50", "p75", "p90", "p95" or "p99" of the first target\'s own times to first '
        "content.",
    )
    max_share: float = Field(
        default=0.05, gt=0, le=1, description="Most second calls, as a share of the route's requests."
    )

    @field_validator("after")
    @classmethod
    def _time(cls, after: str | float) -> str | float:
        if isinstance(after, str) and after not in QUANTILES:
            raise ValueError(f"{after!r} is not a time; write seconds, or one of {', '.join(QUANTILES)}")
        if isinstance(after, float) and not (after > 0 and math.isfinite(after)):
            raise ValueError("it is not more than 0 seconds; write seconds, or a quantile such as p95")
        return after


class FallbackSettings(Section):
    """`[routes.NAME.fallback]`: what answers when no target does; tried in the order of this table.

    None where neither the route nor `[defaults]` has it; `fallback = false` switches off what the defaults say.
    """

    route: str | None = Field(default=None, description="Another route, whose targets are asked then.")
    heuristic: str | None = Field(
        default=None,
        description="`module:function` of your own: it gets the request and returns the text of an answer.",
    )
    message: str | None = Field(default=None, min_length=1, description="A fixed text, given as the answer.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.route is None and self.heuristic is None and self.message is None:
            raise ValueError("it says nothing; set route, heuristic or message")
        if self.heuristic is not None and not _HEURISTIC.fullmatch(self.heuristic):
            raise ValueError(
                f'heuristic: {self.heuristic!r} names no function; write it as "module:function"'
            )
        return self


class ConditionSettings(Section):
    """`[[routes.NAME.when]]`: other targets for some requests. All that is set must hold; the first rule that does wins."""

    targets: list[str] = Field(description="Used in place of the route's targets.")
    weights: list[float] | None = Field(default=None, description="One for each of these targets.")
    strategy: Strategy | None = Field(default=None, description="In place of the route's.")
    metadata: dict[str, str | bool | int | float] = Field(
        default_factory=dict, description="`metadata` of the body has these values."
    )
    tags: dict[str, str] = Field(
        default_factory=dict, description="The tags of the request have these values."
    )
    user: str | list[str] | None = Field(default=None, description="The request is of this user.")
    feature: str | list[str] | None = Field(default=None, description="It is for this feature.")
    tenant: str | list[str] | None = Field(default=None, description="The key belongs to this tenant.")
    min_input_tokens: int | None = Field(default=None, ge=1, description="It has at least this many tokens.")
    max_input_tokens: int | None = Field(default=None, ge=0, description="It has at most this many tokens.")
    needs: list[Need] = Field(
        default_factory=list, description="It needs all of these: `tools`, `vision`, `json_schema`."
    )
    stream: bool | None = Field(default=None, description="It is streamed, or is not.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        check_targets(self.targets, self.weights, self.strategy)
        low, high = self.min_input_tokens, self.max_input_tokens
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"it never holds, since min_input_tokens {low} is more than max_input_tokens {high}; swap the two"
            )
        for name in ("user", "feature", "tenant"):
            if getattr(self, name) == []:
                raise ValueError(f"it never holds, since {name} lists nobody; name somebody")
        if not self.constraints():
            raise ValueError("it sets no condition, so it would always hold; put its targets into the route")
        return self

    def constraints(self) -> dict[str, Any]:
        """The conditions that are set, by key."""
        skipped = {"targets", "weights", "strategy"}
        return {
            name: value
            for name in type(self).model_fields
            if name not in skipped and (value := getattr(self, name)) not in (None, [], {})
        }


class RouteSettings(Section):
    """`[routes.NAME]`: what `model = "NAME"` means."""

    targets: list[str] = Field(description="`provider/model`, in the order in which they are asked.")
    strategy: Strategy = Field(
        default="failover",
        description="Who is asked first: the first that is well, a random one by `weights`, the one that is cheapest "
        "for this request, or the one that answers fastest now. The others follow when it cannot answer.",
    )
    weights: list[float] | None = Field(
        default=None, description="For `weighted`: one for each target; 0 is only a backup."
    )
    when: list[ConditionSettings] = Field(
        default_factory=list, description="Rules for some requests, looked at in order."
    )
    timeouts: TimeoutSettings = TimeoutSettings()
    retry: RetrySettings = RetrySettings()
    hedge: HedgeSettings | Literal[False] | None = Field(
        default=None,
        description="Off where neither the route nor `[defaults]` has it; false switches it off.",
    )
    resume: bool | None = Field(
        default=None, description="A stream that breaks after content goes on at the next target."
    )
    fallback: FallbackSettings | Literal[False] | None = Field(
        default=None,
        description="None where neither the route nor `[defaults]` has it; false switches it off.",
    )
    payloads: bool | None = Field(
        default=None, description="Keep requests and answers; else as `ledger.payloads`."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_targets(self.targets, self.weights, self.strategy)
        if isinstance(self.hedge, HedgeSettings) and len(self.targets) == 1 and not self.when:
            raise ValueError("hedge: there is no second target to ask; add one, or take the hedge out")
        return self


class DefaultsSettings(Section):
    """`[defaults]`: applies to every call that names no route, or whose route is silent."""

    timeouts: TimeoutSettings = TimeoutSettings()
    retry: RetrySettings = RetrySettings()
    hedge: HedgeSettings | None = Field(default=None, description="For routes with more than one target.")
    resume: bool = Field(
        default=False, description="A stream that breaks after content goes on at the next target."
    )
    fallback: FallbackSettings | None = Field(default=None, description="For every call that nobody answers.")
    payloads: bool | None = Field(
        default=None, description="Keep requests and answers; else as `ledger.payloads`."
    )


def check_targets(targets: list[str], weights: list[float] | None, strategy: str | None) -> None:
    """What must hold of a list of targets and their weights.

    Raises:
        ValueError: one clear sentence.
    """
    if not targets:
        raise ValueError("targets: the list is empty; name at least one model as `provider/model`")
    if twice := next((target for target in targets if targets.count(target) > 1), None):
        raise ValueError(f"targets: {twice!r} stands there twice; a weight says how often a target is asked")
    if weights is None:
        return
    if strategy not in (None, "weighted"):
        raise ValueError(
            f'weights: they have no effect with strategy "{strategy}"; set strategy = "weighted"'
        )
    if len(weights) != len(targets):
        raise ValueError(f"weights: there are {len(weights)} for {len(targets)} targets; give one for each")
    if any(not (weight >= 0 and math.isfinite(weight)) for weight in weights):
        raise ValueError("weights: one of them is negative; write numbers from 0 up")
    if not sum(weights) > 0:
        raise ValueError("weights: they sum to 0, so that no target would be asked; give one at least 1")
