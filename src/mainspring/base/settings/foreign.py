"""What other gateways call things, and what people call them before they look: the key or the value that is meant.

Nothing here is accepted. It only makes the remedy of a mistake say what to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.base.settings.places import Location

_LITELLM = "That is LiteLLM's; here [defaults] has retries and timeouts, and `mainspring keys` makes keys."
_PRICES = "Prices are input_usd_per_mtok and output_usd_per_mtok, in dollars per million tokens."
_TIMEOUTS = "Timeouts stand in [defaults.timeouts] and [routes.NAME.timeouts], in seconds."
_API = "Did you mean 'api', its wire protocol?"
_URL = "Did you mean 'base_url'?"
_KEYS = "Did you mean 'api_keys', a list such as [\"env:NAME\"]?"
_ATTEMPTS = "Did you mean 'retry', as in retry = { attempts = 3 }?"
_TARGETS = "Did you mean 'targets', a list such as [\"openai/gpt-5-mini\"]?"
_RATES = "Limits on requests are by the second: rps_per_user, rps_per_key, rps_per_tenant, rps_per_feature."
_TOKENS = "Did you mean 'tokens_per_minute_per_user', or that of a key, tenant or feature?"
#: By section and name; an empty section is the file itself.
_KEYS_MEANT = {
    "": {
        "budgets": "Budgets are kept in the database; see `mainspring budgets --help`.",
        "keys": "Keys are kept in the database; see `mainspring keys --help`.",
        "users": "Users need not be declared; they come with the requests.",
        "tenants": "Tenants need not be declared; a key names one.",
        "model_list": "Models need no list: [providers.NAME] says where they are, [routes.NAME] gives names of your own.",
        "litellm_settings": _LITELLM,
        "general_settings": _LITELLM,
        "router_settings": _LITELLM,
        "environment_variables": "Set variables where the server is started.",
    },
    "providers": {
        **dict.fromkeys(("type", "kind", "protocol", "format", "sdk", "api_type"), _API),
        **dict.fromkeys(("url", "api_base", "api_url", "endpoint", "host", "address"), _URL),
        **dict.fromkeys(("key", "keys", "api_key", "apikey", "token", "secret"), _KEYS),
        **dict.fromkeys(("timeout", "timeouts", "request_timeout"), _TIMEOUTS),
        **dict.fromkeys(("models", "model"), "Models need not be listed; a request names `provider/model`."),
        "api_version": "It is not needed: Azure's base_url ends with /openai/v1.",
        "weight": "Weights stand in a route, one for each of its targets.",
    },
    "routes": {
        **dict.fromkeys(("timeout", "request_timeout"), "Did you mean 'timeouts', as in timeouts = { total = 60 }?"),
        **dict.fromkeys(("retries", "max_retries", "num_retries", "attempts"), _ATTEMPTS),
        **dict.fromkeys(("model", "models", "target", "providers", "upstreams"), _TARGETS),
        "fallbacks": "The targets behind the first are its fallbacks; `fallback` is for when none of them answers.",
        "rules": "Did you mean [[routes.NAME.when]]?",
    },
    "defaults": {
        **dict.fromkeys(("timeout", "request_timeout"), "Did you mean 'timeouts', as in timeouts = { total = 60 }?"),
        **dict.fromkeys(("retries", "max_retries", "num_retries", "attempts"), _ATTEMPTS),
    },
    "models": {
        **dict.fromkeys(("input_cost_per_token", "output_cost_per_token", "input_price", "output_price"), _PRICES),
        **dict.fromkeys(("input", "output", "price", "cost"), _PRICES),
        **dict.fromkeys(
            ("context", "context_window", "context_length", "max_input_tokens"), "Did you mean 'context_tokens'?"
        ),
        **dict.fromkeys(("max_tokens", "max_output"), "Did you mean 'max_output_tokens'?"),
    },
    "limits": {
        **dict.fromkeys(("rps", "rpm", "requests_per_minute", "rate"), _RATES),
        **dict.fromkeys(("tpm", "tokens_per_minute", "tokens"), _TOKENS),
    },
    "server": dict.fromkeys(("bind", "listen", "address", "interface"), "Did you mean 'host'?"),
    "storage": {
        **dict.fromkeys(("url", "db", "dsn", "postgres", "sqlite", "path"), "Did you mean 'database'?"),
        **dict.fromkeys(("redis", "valkey", "cache"), "Did you mean 'shared'?"),
        **dict.fromkeys(("s3", "bucket", "files"), "Did you mean 'blobs'?"),
    },
}  # fmt: skip
#: Values of keys that have a few only.
_VALUES_MEANT = {
    **dict.fromkeys(("round_robin", "random", "simple_shuffle", "shuffle", "load_balance"), "weighted"),
    **dict.fromkeys(("latency", "least_latency", "lowest_latency", "latency_based_routing"), "fastest"),
    **dict.fromkeys(("cost", "least_cost", "lowest_cost", "cost_based_routing", "price"), "cheapest"),
    **dict.fromkeys(("priority", "order", "ordered", "sequential", "fallback"), "failover"),
    **dict.fromkeys(("openai_compatible", "openai_compat", "azure", "azure_openai", "google"), "openai"),
    **dict.fromkeys(("gemini", "vertex_ai", "mistral", "deepseek", "groq", "ollama", "vllm"), "openai"),
    **dict.fromkeys(("openrouter", "together", "together_ai", "xai", "custom_openai"), "openai"),
    **dict.fromkeys(("claude", "messages"), "anthropic"),
    **dict.fromkeys(("gguf", "llama.cpp"), "local"),
    **dict.fromkeys(("warn", "warnings"), "warning"),
    **dict.fromkeys(("ssl", "smtps"), "tls"),
    **dict.fromkeys(("http", "https"), "webhook"),
    **dict.fromkeys(("smtp", "mail"), "email"),
}  # fmt: skip


def key_meant(location: Location) -> str | None:
    """What to do about a key that does not exist; None where its name tells nothing."""
    section = str(location[0]) if len(location) > 1 else ""
    return _KEYS_MEANT.get(section, {}).get(str(location[-1]).lower().replace("-", "_"))


def value_meant(given: object) -> str | None:
    """The value that is meant by one that cannot be."""
    return _VALUES_MEANT.get(str(given).lower().replace("-", "_").replace(" ", "_"))
