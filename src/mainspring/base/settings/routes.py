"""The sections about routes: where a call may go, and how long it may take."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mainspring.base.settings.section import Section


class TimeoutSettings(Section):
    """`[routes.NAME.timeouts]`, in seconds."""

    connect: float = Field(default=5, gt=0, description="To connect to a target.")
    first_token: float = Field(
        default=60, gt=0, description="To the first content of a stream, for each target."
    )
    idle: float = Field(default=60, gt=0, description="Between two pieces of a stream.")
    total: float = Field(default=600, gt=0, description="For the whole request, all targets together.")


class RouteSettings(Section):
    """`[routes.NAME]`: what `model = "NAME"` means."""

    targets: list[str] = Field(
        min_length=1, description="`provider/model`, in the order in which they are asked."
    )
    strategy: Literal["failover"] = Field(
        default="failover", description="The next target when one cannot answer."
    )
    timeouts: TimeoutSettings = TimeoutSettings()
    payloads: bool | None = Field(
        default=None, description="Keep requests and answers; else as `ledger.payloads`."
    )


class DefaultsSettings(Section):
    """`[defaults]`: applies to every call that names no route, or whose route is silent."""

    timeouts: TimeoutSettings = TimeoutSettings()
    payloads: bool | None = Field(
        default=None, description="Keep requests and answers; else as `ledger.payloads`."
    )
