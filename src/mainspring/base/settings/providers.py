"""The sections about upstreams and their models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from mainspring.base.settings.section import Section


class ProviderSettings(Section):
    """`[providers.NAME]`: one upstream."""

    api: Literal["openai", "anthropic", "local"] = Field(default="openai", description="Its wire protocol.")
    base_url: str | None = Field(default=None, description="Its address; known names have one.")
    api_keys: list[str] = Field(default_factory=list, description="References: env:NAME or file:PATH.")
    headers: dict[str, str] = Field(default_factory=dict, description="Sent with every call.")
    operations: list[str] | None = Field(
        default=None, description="What it serves natively, if not what its wire protocol usually does."
    )
    connections: int = Field(default=0, ge=0, description="Most connections at once; 0 is no limit.")

    @field_validator("api_keys")
    @classmethod
    def _references(cls, keys: list[str]) -> list[str]:
        """A reference of a kind that is not read here would be sent to the provider as if it were the key."""
        for key in keys:
            if key.startswith(("vault:", "aws:")):
                raise ValueError(
                    f"{key.partition(':')[0]}: is not read by this version; use env:NAME or file:PATH"
                )
        return keys


class ModelSettings(Section):
    """`[models."provider/model"]`: prices and limits that override the built-in table."""

    input_usd_per_mtok: float | None = Field(default=None, ge=0, description="Dollars per million tokens.")
    output_usd_per_mtok: float | None = Field(default=None, ge=0, description="The same, of the answer.")
    cache_read_usd_per_mtok: float | None = Field(
        default=None, ge=0, description="The same, read from the provider's prompt cache."
    )
    cache_write_usd_per_mtok: float | None = Field(default=None, ge=0, description="The same, written to it.")
    path: str | None = Field(default=None, description="For a local model: the GGUF file.")
    context_tokens: int | None = Field(
        default=None,
        ge=1,
        description="For a local model: tokens of a chat, in place of `local.context_tokens`.",
    )
