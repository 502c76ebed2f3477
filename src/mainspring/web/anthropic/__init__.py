"""Anthropic's protocol at our door: messages and token counts. How its errors and pings look."""

from mainspring.web.anthropic.dialect import COUNT_TOKENS, MESSAGES, AnthropicDialect

__all__ = ["COUNT_TOKENS", "MESSAGES", "AnthropicDialect"]
