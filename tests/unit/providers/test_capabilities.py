"""What models can do: the table of families, the price table, and what the settings say."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.base.settings import Settings
from mainspring.providers.capabilities import Capabilities
from mainspring.providers.families import family
from mainspring.providers.prices import PriceTable


@pytest.mark.parametrize(
    ("model", "tools", "vision", "json_schema"),
    [
        ("gpt-4", True, False, False),
        ("gpt-4-0613", True, False, False),
        ("gpt-4-turbo-2024-04-09", None, True, False),
        ("gpt-4o", None, True, None),
        ("gpt-5-mini", None, True, None),
        ("openai/gpt-oss-120b", True, False, None),
        ("o3-mini-2025-01-31", True, False, True),
        ("o1", None, True, None),
        ("claude-haiku-4-5", True, True, None),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", True, True, None),
        ("claude-2.1", False, False, False),
        ("gemini-2.5-flash", True, True, True),
        ("gemini-2.5-flash-image", None, None, None),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", None, False, None),
        ("llama-3.2-90b-vision-preview", None, True, None),
        ("llama3.2-vision", None, True, None),
        ("nvidia/llama-3.1-nemotron-nano-vl-8b", None, True, None),
        ("Qwen/Qwen2.5-VL-72B-Instruct", None, True, None),
        ("Qwen/Qwen2.5-72B-Instruct", None, False, None),
        ("qwen3.5-plus", None, None, None),
        ("deepseek-chat", None, None, None),
        ("deepseek-v3.2", None, False, None),
        ("deepseek-flash", None, True, None),
        ("deepseek-v4-pro", None, None, None),
        ("anthropic.claude-v2:1", False, False, False),
        ("claude-opus-5", True, True, None),
        ("gpt-6-sol", None, True, None),
        ("gpt-audio-mini", True, False, False),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc", None, True, None),
        ("gemini-4-argon", True, True, True),
        ("google.gemma-3-4b-it", None, True, None),
        ("devstral-small-2507", None, False, None),
        ("labs-devstral-small-2512", None, None, None),
        ("devstral-latest", None, None, None),
        ("mistral-large-2512", None, True, None),
        ("CohereLabs/command-a-plus-05-2026-fp8", None, True, None),
        ("command-a-03-2025", None, False, None),
        ("grok-code-fast-1", True, None, None),
        ("microsoft/Phi-4-reasoning-vision-15B", None, True, None),
        ("phi-4", None, False, None),
        ("llama-3-llava-next-8b", None, True, None),
        ("togethercomputer/CodeLlama-34b-Instruct", None, False, None),
        ("kimi-k2.6", None, True, None),
        ("moonshotai/kimi-k2.5", None, True, None),
        ("somebody/else", None, None, None),
        ("", None, None, None),
    ],
)
def test_families(model: str, tools: Any, vision: Any, json_schema: Any) -> None:
    known = family(model)
    assert (known.tools, known.vision, known.json_schema) == (tools, vision, json_schema)


def test_sources_in_their_order() -> None:
    settings = Settings(
        providers={"openai": {}, "mine": {"base_url": "http://127.0.0.1:9/v1"}},  # type: ignore[dict-item] # pydantic reads it
        models={"openai/gpt-4": {"vision": True, "context_tokens": 7}, "mine/gpt-4o": {"vision": False}},  # type: ignore[dict-item] # as above
    )
    prices = PriceTable({}, {"openai": "openai"})
    known = Capabilities(settings, prices)
    assert not known.complete
    assert known.of("openai", "gpt-4o").context_tokens is None, (
        "the table is not read on the way of a request"
    )
    prices.warm()
    assert known.complete
    assert known.of("openai", "gpt-4o").context_tokens == 128_000
    assert known.of("mine", "gpt-4o").context_tokens is None, (
        "the table says nothing of somebody else's server"
    )
    assert known.of("mine", "gpt-4o").vision is False
    own = known.of("openai", "gpt-4")
    assert (own.vision, own.context_tokens, own.tools) == (True, 7, True)
    small = known.of("local", "small")
    assert (small.vision, small.tools, small.json_schema) == (False, True, True)
    assert small.context_tokens == settings.local.context_tokens
