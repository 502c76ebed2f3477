"""A router over providers that are never called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mainspring.base.settings import Settings
from mainspring.providers import Providers
from mainspring.providers.registry import KNOWN
from mainspring.routing import Health, Router

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.routing.support import Clock


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in KNOWN.values():
        for name in (known.key_variable, known.url_variable):
            if name:
                monkeypatch.delenv(name, raising=False)


@pytest.fixture
def router() -> Callable[..., Router]:
    def make(
        route: dict[str, Any] | None = None,
        *,
        health: Health | None = None,
        draws: list[float] | None = None,
        **settings: Any,
    ) -> Router:
        made = Settings(
            **{
                "providers": {name: {"base_url": "http://127.0.0.1:9/v1"} for name in "abc"},
                "routes": {"r": route} if route is not None else {},
                **settings,
            }
        )
        left = list(draws or [])
        draw = (lambda: left.pop(0)) if draws is not None else None
        health = health if health is not None else Health()
        if draw is None:
            return Router(made, Providers(made), health)
        return Router(made, Providers(made), health, draw=draw)

    return make


@pytest.fixture
def clock() -> Clock:
    from tests.unit.routing.support import Clock  # noqa: PLC0415 - so that the fixture has the type

    return Clock()
