"""The sections about upstreams and their models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from mainspring.base.settings.secrets import check_reference, redact
from mainspring.base.settings.section import Section


class ProviderSettings(Section):
    """`[providers.NAME]`: one upstream."""

    api: Literal["openai", "anthropic", "local"] = Field(default="openai", description="Its wire protocol.")
    base_url: str | None = Field(default=None, description="Its address; known names have one.")
    api_keys: list[str] = Field(
        default_factory=list,
        description="A pool. References: env:NAME, file:PATH, vault:PATH#FIELD or aws:NAME#FIELD.",
    )
    headers: dict[str, str] = Field(default_factory=dict, description="Sent with every call.")
    operations: list[str] | None = Field(
        default=None, description="What it serves natively, if not what its wire protocol usually does."
    )
    connections: int = Field(default=0, ge=0, description="Most connections at once; 0 is no limit.")

    @field_validator("api_keys")
    @classmethod
    def _references(cls, keys: list[str]) -> list[str]:
        """A reference of a kind that is not read here would be sent to the provider as if it were the key."""
        for number, key in enumerate(keys):
            if not key.strip():
                raise ValueError("a key is empty; write a reference such as env:NAME, or leave it out")
            check_reference(key)
            if key in keys[:number]:
                raise ValueError(
                    f"{redact(key)!r} stands there twice; take one out"
                    if redact(key) != "set"
                    else "a key stands there twice; take one out"
                )
        return keys


def _price(text: str) -> float | None:
    # Ten cents for each token are a slip; and sums of money must fit into 64 bits.
    found: float | None = Field(default=None, ge=0, le=100_000, description=text)
    return found


class ModelSettings(Section):
    """`[models."provider/model"]`: prices and limits that override the built-in table."""

    input_usd_per_mtok: float | None = _price("Dollars per million tokens.")
    output_usd_per_mtok: float | None = _price("The same, of the answer.")
    cache_read_usd_per_mtok: float | None = _price("The same, read from the provider's prompt cache.")
    cache_write_usd_per_mtok: float | None = _price("The same, written to it.")
    path: str | None = Field(default=None, description="For a local model: the GGUF file.")
    context_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens of a chat that it takes, question and answer together. For a local model in place of "
        "`local.context_tokens`.",
    )
    max_output_tokens: int | None = Field(default=None, ge=1, description="Most tokens of an answer.")
    tools: bool | None = Field(default=None, description="Whether it can be given tools to call.")
    vision: bool | None = Field(default=None, description="Whether it takes images.")
    json_schema: bool | None = Field(
        default=None, description="Whether its answer can be held to a JSON schema."
    )


class SecretsSettings(Section):
    """`[secrets]`: how the secrets behind references are followed."""

    reread_seconds: float = Field(
        default=60, ge=1, le=86_400, description="How often what is kept in Vault or AWS is read again."
    )
    old_days: float = Field(
        default=90, gt=0, description="From how many days on a provider's key is called old."
    )
