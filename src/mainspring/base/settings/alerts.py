"""The sections about alerts: what is watched, and who is told."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from mainspring.base.durations import parse_seconds
from mainspring.base.settings.secrets import check_reference, kind_of
from mainspring.base.settings.section import Section

Metric = Literal[
    "spend",
    "tokens",
    "requests",
    "error_rate",
    "attempt_error_rate",
    "latency_mean",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "first_token_mean",
    "first_token_p50",
    "first_token_p95",
    "first_token_p99",
    "budget",
    "provider_health",
    "secret_age",
    "database_queue",
]
#: What is summed over a window of time, and so can be narrowed and grouped; the others are states.
WINDOWED: tuple[Metric, ...] = (
    "spend",
    "tokens",
    "requests",
    "error_rate",
    "attempt_error_rate",
    "latency_mean",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "first_token_mean",
    "first_token_p50",
    "first_token_p95",
    "first_token_p99",
)
#: Whose thresholds are times: a number of seconds, or a duration.
_TIMES = {"secret_age", *(metric for metric in WINDOWED if metric.startswith(("latency_", "first_token_")))}
#: Whose thresholds are shares: 0.05 is 5%.
_SHARES = ("error_rate", "attempt_error_rate", "budget")
_DIMENSIONS = ("tenant", "route", "provider", "model", "feature")
_NEEDS_BY_KIND = {"webhook": ("url",), "slack": ("url",), "email": ("host", "sender", "to")}
_TAKES_BY_KIND = {
    "webhook": {"kind", "url", "secret"},
    "slack": {"kind", "url"},
    "email": {"kind", "host", "port", "security", "username", "password", "sender", "to"},
}
_SHORTEST_WINDOW, _LONGEST_WINDOW = 60, 31 * 86_400

Dimension = Literal["tenant", "route", "provider", "model", "feature"]
Severity = Literal["info", "warning", "critical"]


def _seconds(text: str) -> float:
    """Seconds of a duration, or an error that says how to write one."""
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise ValueError(f"{error}; write 30s, 5m, 2h or 7d") from None


class ChannelSettings(Section):
    """`[alerts.channels.NAME]`: somebody who is told."""

    kind: Literal["webhook", "slack", "email"] = Field(description="How.")
    url: str | None = Field(
        default=None, repr=False, description="Webhook, Slack: the address, as env:NAME or file:PATH."
    )
    secret: str | None = Field(
        default=None, repr=False, description="Webhook: a reference to what messages are signed with."
    )
    host: str | None = Field(default=None, description="E-mail: the SMTP server.")
    port: int | None = Field(
        default=None, ge=1, le=65535, description="E-mail: by default 587, 465 or 25, as `security` says."
    )
    security: Literal["starttls", "tls", "plain"] = Field(
        default="starttls", description="E-mail: how the connection is protected."
    )
    username: str | None = Field(default=None, description="E-mail: who signs in; nobody by default.")
    password: str | None = Field(default=None, repr=False, description="E-mail: a reference to the password.")
    sender: str | None = Field(default=None, description="E-mail: the address in From.")
    to: list[str] = Field(default_factory=list, description="E-mail: the addresses in To.")

    @field_validator("url", "secret")
    @classmethod
    def _references(cls, value: str | None) -> str | None:
        if value is not None:
            check_reference(value)
        return value

    @field_validator("url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None and kind_of(url) == "literal" and "://" not in url:
            raise ValueError("it is no address; write all of it, or a reference such as env:SLACK_URL")
        return url

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        for name in _NEEDS_BY_KIND[self.kind]:
            if not getattr(self, name):
                raise ValueError(f"a channel of kind {self.kind} needs `{name}`; add it")
        for name in sorted(self.model_fields_set - _TAKES_BY_KIND[self.kind]):
            raise ValueError(f"a channel of kind {self.kind} has no `{name}`; take it out")
        if (self.username is None) != (self.password is None):
            raise ValueError("`username` and `password` belong together; give both or neither")
        if self.username is not None and self.security == "plain":
            raise ValueError("a password is not sent over a plain connection; use starttls or tls")
        for address in (self.sender, *self.to) if self.kind == "email" else ():
            if address is None or "@" not in address or any(c.isspace() or c in "<>," for c in address):
                raise ValueError(f"{address!r} is not an e-mail address; write it as name@example.com")
        return self

    def literal_address(self) -> str | None:
        """The scheme of an address that stands in the file itself; None of a reference."""
        head, separator, _ = (self.url or "").partition("://")
        return head if separator and not head.startswith(("env:", "file:", "vault:", "aws:")) else None


class RuleSettings(Section):
    """`[alerts.rules.NAME]`: something that is watched."""

    metric: Metric = Field(description="What is measured.")
    above: float | str | None = Field(
        default=None,
        description="Alert above this: dollars, a count, a share (0.05), or a time (2.5, `90d`).",
    )
    below: float | str | None = Field(default=None, description="Alert below this, in place of `above`.")
    recover: float | str | None = Field(
        default=None, description="Good again at this; by default a fifth to the good side of the threshold."
    )
    over: str = Field(default="5m", description="The window that is summed, in whole minutes.")
    lasting: str = Field(default="0s", description="Alert only once it has been so for this long.")
    resolve_after: str = Field(default="1m", description="Resolve once it has been good for this long.")
    min_requests: int | None = Field(
        default=None,
        ge=0,
        description="Fewer requests (attempts, where they are counted) in the window say nothing; 20 for rates and latencies, 5 for attempt_error_rate, else 0.",
    )
    tenant: str | None = Field(default=None, description="Only this tenant.")
    route: str | None = Field(default=None, description="Only this route.")
    provider: str | None = Field(default=None, description="Only this provider.")
    model: str | None = Field(default=None, description="Only this model.")
    feature: str | None = Field(default=None, description="Only this feature.")
    per: Dimension | None = Field(
        default=None, description="One alert for each: tenant, route, provider, model or feature."
    )
    channels: list[str] | None = Field(
        default=None, description="Who is told; by default every channel, with [] nobody."
    )
    severity: Severity = Field(default="warning", description="info, warning or critical.")

    @field_validator("over", "lasting", "resolve_after")
    @classmethod
    def _durations(cls, text: str) -> str:
        _seconds(text)
        return text

    @field_validator("over")
    @classmethod
    def _window(cls, text: str) -> str:
        if not _SHORTEST_WINDOW <= _seconds(text) <= _LONGEST_WINDOW:
            raise ValueError(f"a window has between 1m and 31d, not {text}; write one such as 5m")
        return text

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        self._check_thresholds()
        if self.metric in WINDOWED:
            return self
        given = [name for name in _DIMENSIONS if getattr(self, name) is not None]
        if self.per is not None:
            given.append("per")
        if "over" in self.model_fields_set:
            given.append("over")
        if given:
            raise ValueError(f"{self.metric} is a state, not a sum over answers; leave out `{given[0]}`")
        return self

    def _check_thresholds(self) -> None:
        if self.above is not None and self.below is not None:
            raise ValueError("it has both `above` and `below`; write two rules")
        if self.above is None and self.below is None:
            if self.metric == "provider_health":
                return
            raise ValueError("it has no threshold; write `above = ...` or `below = ...`")
        if self.metric == "provider_health":
            raise ValueError("provider_health has no threshold; leave it out")
        for name in ("above", "below", "recover"):
            value = getattr(self, name)
            if value is not None and self.amount(value) < 0:
                raise ValueError(f"`{name}` cannot be negative; write it as a number from 0 up")
        if self.metric in {"error_rate", "attempt_error_rate"} and self.threshold > 1:
            raise ValueError("an error rate is a share; write 0.05 for 5%")
        if self.recover is not None:
            good = self.amount(self.recover)
            if (self.above is not None and good > self.threshold) or (
                self.below is not None and good < self.threshold
            ):
                raise ValueError(
                    "`recover` is on the bad side of the threshold; choose a value on the good one"
                )

    @property
    def threshold(self) -> float:
        """The threshold as a number: dollars, seconds, a share or a count."""
        value = self.above if self.above is not None else self.below
        return 0.0 if value is None else self.amount(value)

    def amount(self, value: float | str) -> float:
        """A threshold as a number.

        Raises:
            ValueError: a text where a number belongs, or no duration.
        """
        if isinstance(value, str):
            if self.metric not in _TIMES:
                raise ValueError(
                    f"a threshold of {self.metric} is a number; write it without quotes and units"
                )
            return _seconds(value)
        if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124 - only NaN differs from itself
            raise ValueError("a threshold is a finite number")
        return value


class AlertsSettings(Section):
    """`[alerts]`: how rules are watched and messages are sent."""

    every: str = Field(default="5s", description="How often the rules are looked at.")
    group: str = Field(default="30s", description="A channel gets a message at most this often.")
    remind: str | None = Field(
        default=None, description="Tell again of what stays open and unacknowledged, this often."
    )
    resolved: bool = Field(default=True, description="Tell also when something is good again.")
    keep: str = Field(default="90d", description="How long resolved alerts and sent messages are kept.")
    defaults: bool = Field(
        default=True,
        description="Watch budgets, the health of providers and the age of secrets without being told to.",
    )
    channels: dict[str, ChannelSettings] = Field(default_factory=dict)
    rules: dict[str, RuleSettings] = Field(default_factory=dict)

    @field_validator("every", "group", "remind", "keep")
    @classmethod
    def _durations(cls, text: str | None) -> str | None:
        if text is not None:
            _seconds(text)
        return text

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name, least in (("every", 0.5), ("remind", 60), ("keep", 3600)):
            text = getattr(self, name)
            if text is not None and _seconds(text) < least:
                raise ValueError(f"`{name}` is less than {least:g} seconds; write more")
        for rule, settings in self.rules.items():
            for channel in settings.channels or ():
                if channel not in self.channels:
                    known = ", ".join(sorted(self.channels)) or "none"
                    raise ValueError(
                        f"rules.{rule}: there is no channel {channel!r} (known: {known});"
                        f" add [alerts.channels.{channel}]"
                    )
        for name, channel_settings in self.channels.items():
            scheme = channel_settings.literal_address()
            if scheme is not None and scheme not in {"http", "https"}:
                raise ValueError(
                    f"channels.{name}: `url` does not begin with http:// or https://; write it so"
                )
        return self
