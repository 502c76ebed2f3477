"""What families of models can do beyond text, as their makers document it.

Each row is a pattern for the model's own name (without the vendor before a slash, in lower case), and what is sure:
tools, images, and answers held to a JSON schema. None is "not known", which never excludes a model. The first row that
fits counts. A model that is not here is not known. A "no" is only for a name that will not mean another model one day:
names such as `deepseek-chat` and `devstral-latest` move, and what they lack today the next release may have.

Where the makers say it: OpenAI platform.openai.com/docs/models (and "Structured outputs": gpt-4o-2024-08-06 and later),
Anthropic docs.claude.com "Models overview" and "Vision", Google ai.google.dev/gemini-api/docs/models, Mistral
docs.mistral.ai "Models overview", DeepSeek api-docs.deepseek.com, Meta llama.com model cards, Qwen, Kimi, GLM and Phi
model cards on huggingface.co, xAI docs.x.ai/docs/models, Cohere docs.cohere.com/docs/models. Compared on 2026-11-21
with the table of LiteLLM 1.109.1, which says it of 2,203 chat models: no "no" here is a "yes" there but for the tools
of o1-mini on Azure, which answers 400 to them at OpenAI.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec


class Family(msgspec.Struct, frozen=True):
    """What is known of a family; None is not known."""

    tools: bool | None = None
    vision: bool | None = None
    json_schema: bool | None = None


_YES, _NO, _UNKNOWN = True, False, None
#: pattern, tools, vision, json_schema
_ROWS: tuple[tuple[str, bool | None, bool | None, bool | None], ...] = (
    # OpenAI
    (r"gpt-3\.5-turbo-instruct|davinci-002|babbage-002", _NO, _NO, _NO),
    (r"gpt-3\.5", _YES, _NO, _NO),
    (r"gpt-4-turbo|gpt-4-vision|gpt-4-\d{4}-vision", _UNKNOWN, _YES, _NO),
    (r"gpt-4(-32k)?(-\d{4})?(-preview)?$", _YES, _NO, _NO),
    (r"gpt-4o(-mini)?-(audio|realtime|transcribe|tts|search)", _UNKNOWN, _UNKNOWN, _UNKNOWN),
    (r"gpt-audio", _YES, _NO, _NO),
    (r"gpt-4o-2024-05-13", _YES, _YES, _NO),
    (r"gpt-4o|gpt-4\.1|chatgpt-4o", _UNKNOWN, _YES, _UNKNOWN),
    (r"gpt-[56]", _UNKNOWN, _YES, _UNKNOWN),
    (r"gpt-oss", _YES, _NO, _UNKNOWN),
    (r"o1-(mini|preview)", _NO, _NO, _NO),
    (r"o3-mini", _YES, _NO, _YES),
    (r"o1|o3|o4-mini", _UNKNOWN, _YES, _UNKNOWN),
    # Anthropic
    (r"claude-(instant|v?[12](\b|$))", _NO, _NO, _NO),
    (r"claude-3-5-haiku", _YES, _UNKNOWN, _UNKNOWN),
    (r"claude", _YES, _YES, _UNKNOWN),
    # Google
    (r"gemini-1\.0-pro-vision|gemini-pro-vision", _UNKNOWN, _YES, _NO),
    (r"gemini-(1\.0-)?pro$", _UNKNOWN, _NO, _NO),
    (r"gemini-.*(image|tts|audio|live|embedding)", _UNKNOWN, _UNKNOWN, _UNKNOWN),
    (r"gemini-(1\.5|[234])", _YES, _YES, _YES),
    (r"gemma-2|gemma-3-(1b|270m)|codegemma", _UNKNOWN, _NO, _UNKNOWN),
    (r"gemma-[34]", _UNKNOWN, _YES, _UNKNOWN),
    # Mistral
    (
        r"(open-)?(mistral-7b|mixtral)|codestral-2|devstral-(small|medium)-250[57]|open-mistral-nemo|mathstral",
        _UNKNOWN,
        _NO,
        _UNKNOWN,
    ),
    (
        r"pixtral|mistral-small-(3\.[12]|2503|2506|2603)|mistral-medium-(3|2505|2508|2604)|mistral-large-(3|4|2512)",
        _UNKNOWN,
        _YES,
        _UNKNOWN,
    ),
    # DeepSeek
    (r"deepseek-(vl|ocr|flash|v4-flash)", _UNKNOWN, _YES, _UNKNOWN),
    (r"deepseek-(coder|r1|v2|v3)", _UNKNOWN, _NO, _UNKNOWN),
    # Meta
    (r".*llama.*(vision|-vl|llava|vila)", _UNKNOWN, _YES, _UNKNOWN),
    (r"codellama|code-llama", _UNKNOWN, _NO, _UNKNOWN),
    (r"llama-?2", _NO, _NO, _UNKNOWN),
    (r"(meta-)?llama-?3[.p-]2-(11b|90b)", _UNKNOWN, _YES, _UNKNOWN),
    (r"(meta-)?llama-?4|llama-guard-4", _UNKNOWN, _YES, _UNKNOWN),
    (r"(meta-)?llama-?3", _UNKNOWN, _NO, _UNKNOWN),
    # Qwen
    (r"qwen.*(vl|omni)|qvq", _UNKNOWN, _YES, _UNKNOWN),
    (r"qwq|qwen-?(1\.5|2|2\.5)-(\d|coder|math)|qwen3-(\d|coder|next)", _UNKNOWN, _NO, _UNKNOWN),
    # Others
    (r"kimi-k2\.[5-9]|kimi-k3|kimi-vl|moonshot-v1-\d+k-vision", _UNKNOWN, _YES, _UNKNOWN),
    (r"kimi-k2(-|$)", _YES, _NO, _UNKNOWN),
    (r"glm-[45](\.\d)?v", _UNKNOWN, _YES, _UNKNOWN),
    (r"glm-4\.[56](-|$)", _YES, _NO, _UNKNOWN),
    (r"grok-4\.20-multi-agent", _UNKNOWN, _YES, _UNKNOWN),
    (r"grok-(2-vision|4)", _YES, _YES, _UNKNOWN),
    (r"grok-code", _YES, _UNKNOWN, _UNKNOWN),
    (r"grok-3", _YES, _NO, _UNKNOWN),
    (r"phi-?(3\.5|3|4).*(vision|multimodal)", _UNKNOWN, _YES, _UNKNOWN),
    (r"phi-?(2|3|4)", _UNKNOWN, _NO, _UNKNOWN),
    (r"command-a-(vision|plus)|aya-vision|c4ai-aya-vision", _UNKNOWN, _YES, _UNKNOWN),
    (r"command-r|command-a-(03|reasoning|translate)|c4ai-command-(r|a-03)", _UNKNOWN, _NO, _UNKNOWN),
    (r"smollm|tinyllama|starcoder", _UNKNOWN, _NO, _UNKNOWN),
)
_FAMILIES = tuple((re.compile(pattern), Family(*known)) for pattern, *known in _ROWS)
_NOT_KNOWN = Family()


@lru_cache(maxsize=4096)
def family(model: str) -> Family:
    """What is known of a model by its name, whoever serves it.

    Args:
        model: as the provider calls it: `gpt-4o`, `meta-llama/Llama-3.3-70B-Instruct-Turbo`, `anthropic.claude-3-...`.
    """
    name = (
        model.lower().rpartition("/")[2].removeprefix("ft:")
    )  # what OpenAI tuned can do what it was tuned from
    # AWS and Azure write the vendor before a dot or as an inference profile: us.anthropic.claude-sonnet-4...
    for vendor in (
        "anthropic.",
        "meta.",
        "mistral.",
        "cohere.",
        "deepseek.",
        "openai.",
        "qwen.",
        "google.",
        "xai.",
    ):
        _, found, rest = name.partition(vendor)
        name = rest if found else name
    return next((known for pattern, known in _FAMILIES if pattern.match(name)), _NOT_KNOWN)
