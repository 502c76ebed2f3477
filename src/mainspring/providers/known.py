"""The providers that people know by name, in one table. Adding one that speaks a known wire protocol is one line.

Addresses, variables and operations as the providers documented them by 2026-11-21: console.groq.com/docs/openai,
docs.mistral.ai, docs.x.ai, api-docs.deepseek.com, ai.google.dev/gemini-api/docs/openai, docs.ollama.com/api. What one of
them serves only in new versions (Ollama and llama.cpp: responses) is left out: it is translated to chat.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from mainspring.providers.types import Operation

#: What each wire protocol usually serves.
_CHAT = frozenset({Operation.CHAT, Operation.EMBEDDINGS})
_CHAT_COMPLETIONS = _CHAT | {Operation.COMPLETIONS}
OPENAI = _CHAT_COMPLETIONS | {Operation.RESPONSES}
ANTHROPIC = frozenset({Operation.MESSAGES, Operation.COUNT_TOKENS})


class Known(msgspec.Struct, frozen=True):
    """A provider that people know by name.

    Attributes:
        api: its wire protocol.
        base_url: where it is; None when every customer has another address.
        key_variable: the variable whose presence switches it on; None for servers that need no key.
        url_variable: the variable that names or replaces the address.
        operations: what it serves natively.
        prices: its name in the price table, if it is in there.
        stream_usage: whether it understands `stream_options.include_usage`.
    """

    api: Literal["openai", "anthropic", "local"]
    base_url: str | None
    key_variable: str | None
    operations: frozenset[Operation]
    url_variable: str | None = None
    prices: str | None = None
    stream_usage: bool = True


KNOWN: dict[str, Known] = {
    "openai": Known(
        "openai", "https://api.openai.com/v1", "OPENAI_API_KEY", OPENAI, "OPENAI_BASE_URL", prices="openai"
    ),
    "anthropic": Known(
        "anthropic",
        "https://api.anthropic.com",
        "ANTHROPIC_API_KEY",
        ANTHROPIC,
        "ANTHROPIC_BASE_URL",
        prices="anthropic",
    ),
    "azure": Known("openai", None, "AZURE_OPENAI_API_KEY", OPENAI, "AZURE_OPENAI_ENDPOINT", prices="azure"),
    "together": Known(
        "openai", "https://api.together.xyz/v1", "TOGETHER_API_KEY", _CHAT_COMPLETIONS, prices="together"
    ),
    "groq": Known(
        "openai",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        frozenset({Operation.CHAT, Operation.RESPONSES}),
        prices="groq",
    ),
    "mistral": Known(
        # It reports usage by itself and answers 422 to stream_options.include_usage.
        "openai",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        _CHAT,
        prices="mistral",
        stream_usage=False,
    ),
    "xai": Known(
        "openai",
        "https://api.x.ai/v1",
        "XAI_API_KEY",
        frozenset({Operation.CHAT, Operation.RESPONSES}),
        prices="x-ai",
    ),
    "deepseek": Known(
        "openai",
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
        frozenset({Operation.CHAT}),
        prices="deepseek",
    ),
    "openrouter": Known(
        "openai",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        OPENAI,
        prices="openrouter",
    ),
    "gemini": Known(
        "openai",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
        _CHAT,
        prices="google",
    ),
    "ollama": Known("openai", "http://127.0.0.1:11434/v1", None, _CHAT_COMPLETIONS, "OLLAMA_BASE_URL"),
    "vllm": Known("openai", "http://127.0.0.1:8000/v1", None, OPENAI, "VLLM_BASE_URL"),
    "llamacpp": Known("openai", "http://127.0.0.1:8081/v1", None, _CHAT_COMPLETIONS, "LLAMACPP_BASE_URL"),
}
