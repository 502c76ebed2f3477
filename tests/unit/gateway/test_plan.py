"""What `model` means."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.base.errors import ConfigError, NotFound
from mainspring.base.settings import Settings
from mainspring.gateway import allowed
from mainspring.keys.types import Principal
from mainspring.providers import Providers
from mainspring.providers.known import KNOWN
from mainspring.routing import Health, Plan, Router, Wanted


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in KNOWN.values():
        for name in (known.key_variable, known.url_variable):
            if name:
                monkeypatch.delenv(name, raising=False)


class Planner:
    """A router that is asked for requests that need nothing."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.route_names = router.route_names

    def plan(self, name: str) -> Plan:
        return self.router.plan(name, Wanted)


def planner(**settings: Any) -> Planner:
    providers = {
        "openai": {"base_url": "http://127.0.0.1:9/v1"},
        "mine": {"base_url": "http://127.0.0.1:9/v1"},
    }
    made = Settings(**{"providers": providers, **settings})
    return Planner(Router(made, Providers(made), Health()))


def test_a_route() -> None:
    plan = planner(routes={"fast": {"targets": ["mine/a/b", "openai/c"]}}).plan("fast")
    assert [(t.provider, t.model) for t in plan.targets] == [("mine", "a/b"), ("openai", "c")]
    assert plan.route == "fast"
    assert plan.why.startswith("route fast")
    assert plan.targets[0].headers == ((b"x-mainspring-provider", b"mine"), (b"x-mainspring-model", b"a/b"))


def test_a_model_that_is_named() -> None:
    made = planner(defaults={"timeouts": {"idle": 7}, "payloads": False})
    plan = made.plan("mine/some/model")
    assert [(t.provider, t.model) for t in plan.targets] == [("mine", "some/model")]
    assert (plan.route, plan.why, plan.timeouts.idle, plan.payloads) == (
        None,
        "named by the caller",
        7,
        False,
    )
    assert made.plan("mine/some/model") is plan


def test_the_usual_route() -> None:
    assert [t.model for t in planner().plan("default").targets] == ["gpt-5-mini", "small"]
    assert [t.provider for t in planner(providers={}).plan("default").targets] == ["local"]
    own = planner(routes={"default": {"targets": ["mine/x"]}})
    assert [t.model for t in own.plan("default").targets] == ["x"]
    assert own.route_names() == ["default"]


def test_timeouts_and_payloads_come_from_the_nearest_that_says_so() -> None:
    made = planner(
        defaults={"timeouts": {"idle": 7, "total": 70}, "payloads": False},
        routes={
            "a": {"targets": ["mine/x"], "timeouts": {"idle": 3}, "payloads": True},
            "b": {"targets": ["mine/x"]},
        },
    )
    a, b = made.plan("a"), made.plan("b")
    assert (a.timeouts.idle, a.timeouts.total, a.timeouts.connect, a.payloads) == (3, 70, 5, True)
    assert (b.timeouts.idle, b.timeouts.total, b.payloads) == (7, 70, False)
    assert planner(ledger={"payloads": False}).plan("mine/x").payloads is False


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        ("defualt", "Did you mean 'default'?"),
        ("opnai/gpt", "There is no provider 'opnai'; configured are: local, mine, openai."),
        ("groq/llama", "There is no provider 'groq'. Set GROQ_API_KEY, or add [providers.groq]."),
        ("gpt-5", "Name a route (default) or a model as `provider/model`."),
        ("mine/", "Name a route (default) or a model as `provider/model`."),
        ("", "Name a route (default) or a model as `provider/model`."),
        ("/x", "There is no provider ''"),
    ],
)
def test_unknown_models(model: str, remedy: str) -> None:
    with pytest.raises(NotFound) as error:
        planner().plan(model)
    assert error.value.remedy.startswith(remedy)
    assert error.value.param == "model"


@pytest.mark.parametrize("target", ["gpt-5", "mine/", "yours/x", "/x"])
def test_routes_that_lead_nowhere(target: str) -> None:
    with pytest.raises(ConfigError, match=r"routes\.bad"):
        planner(routes={"bad": {"targets": [target]}})


@pytest.mark.parametrize("name", ["mine/\r\nx-evil: 1", "mine/\u2028é", "mine/\x00"])
def test_headers_hold_any_name(name: str) -> None:
    (target,) = planner().plan(name).targets
    assert all(value.isascii() and value.decode().isprintable() for _, value in target.headers)
    assert target.model == name.removeprefix("mine/")


@pytest.mark.parametrize(
    ("models", "name", "may"),
    [
        (None, "anything", True),
        (frozenset(), "default", False),
        ({"default"}, "default", True),
        ({"default"}, "mine/x", False),
        ({"mine/*"}, "mine/x/y", True),
        ({"mine/*"}, "mine2/x", False),
        ({"mine/*"}, "mine", False),
        ({"mine/x"}, "mine/x", True),
        ({"mine/x"}, "mine/xy", False),
    ],
)
def test_allowed(models: set[str] | None, name: str, may: bool) -> None:
    listed = None if models is None else frozenset(models)
    assert allowed(Principal("k", "n", "t", "member", models=listed), name) is may
