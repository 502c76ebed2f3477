"""The routes that docs/how-to/routing.md shows, on a router: they do what the page says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.documents import blocks

from mainspring.base.settings import load
from mainspring.providers import Providers
from mainspring.routing import Health, Router, Wanted

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.documents import Block

VISION: frozenset[Any] = frozenset({"vision"})


def routed(folder: Path, block: Block) -> Router:
    file = folder / "mainspring.toml"
    file.write_text(block.text, "utf-8")
    settings = load(file)
    providers = Providers(settings)
    providers.prices.warm()
    return Router(settings, providers, Health())


PAGE = [block for block in blocks("toml") if block.page.name == "routing.md"]


@pytest.fixture
def routers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Router]:
    """Each route of the page, by name."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-none")
    made = [routed(tmp_path, block) for block in PAGE]
    return {name: router for router in made for name in router.route_names() if name != "default"}


def targets(router: Router, name: str, **needs: Any) -> list[str]:
    return [str(target) for target in router.plan(name, lambda: Wanted(**needs)).targets]


def test_every_route_of_the_page_plans(routers: dict[str, Router]) -> None:
    assert {"chat", "trial", "batch", "live", "assistant", "careful", "last"} == set(routers)
    for name, router in routers.items():
        assert targets(router, name)


def test_rules(routers: dict[str, Router]) -> None:
    router = routers["assistant"]
    assert targets(router, "assistant")[0] == "openai/gpt-5-mini"
    assert targets(router, "assistant", metadata={"plan": "free"}) == ["local/small"]
    assert targets(router, "assistant", input_tokens=60_000) == ["anthropic/claude-sonnet-4-5"]
    assert set(targets(router, "assistant", kinds=VISION)) == {"openai/gpt-5", "openai/gpt-5-mini"}


def test_the_cheapest(routers: dict[str, Router]) -> None:
    plan = routers["batch"].plan("batch", Wanted)
    assert plan.why.startswith("route batch, cheapest, about $0.0")
    assert plan.detail is not None
    costs = [candidate["cost_nusd"] for candidate in plan.detail["candidates"]]
    assert costs == sorted(costs)
    assert all(costs)


def test_a_context_of_the_table(routers: dict[str, Router]) -> None:
    long = targets(routers["chat"], "chat", input_tokens=300_000)
    assert long == ["openai/gpt-5-mini", "anthropic/claude-haiku-4-5"], (
        "the second one is in doubt, the third is not"
    )
    plan = routers["chat"].plan("chat", lambda: Wanted(input_tokens=300_000))
    assert "anthropic/claude-haiku-4-5 last (may be too long for 200000 tokens)" in plan.why
    assert "passed over local/small (takes 4096 tokens, these are about 300000)" in plan.why
    assert "local/small" not in targets(routers["chat"], "chat", kinds=VISION)


def test_when_it_goes_wrong(routers: dict[str, Router]) -> None:
    plan = routers["careful"].plan("careful", Wanted)
    assert (plan.resume, plan.retry.attempts, plan.timeouts.first_token) == (True, 4, 10)
    assert plan.hedge is not None
    assert plan.fallback is not None
    assert targets(routers["careful"], plan.fallback.route or "") == ["local/small"]
