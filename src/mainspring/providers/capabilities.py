"""What a model can do: how much it reads and writes, and whether it takes tools, images and JSON schemas.

From `[models]` of the settings first, then from the price table (context windows) and the table of families. None is
"not known". Nothing here is asked of a provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainspring.providers.families import Family, family

if TYPE_CHECKING:
    from mainspring.base.settings import Settings
    from mainspring.providers.prices import PriceTable

#: The models in the box are told of tools in text, and their answers are held to a schema by a grammar.
_IN_THE_BOX = Family(tools=True, vision=False, json_schema=True)


class Capability(msgspec.Struct, frozen=True):
    """What is known of one model.

    Attributes:
        context_tokens: of question and answer together.
        max_output_tokens: of an answer.
        tools: whether it can be given tools to call.
        vision: whether it takes images.
        json_schema: whether its answer can be held to a JSON schema.
    """

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    tools: bool | None = None
    vision: bool | None = None
    json_schema: bool | None = None


class Capabilities:
    """What the models of one configuration can do.

    Args:
        settings: the configuration.
        prices: whose table knows context windows too; it is asked only when it has been read, since that takes time.
    """

    def __init__(self, settings: Settings, prices: PriceTable) -> None:
        self._settings = settings
        self._prices = prices

    @property
    def complete(self) -> bool:
        """Whether the price table was read."""
        return self._prices.is_warm

    def of(self, provider: str, model: str) -> Capability:
        """What is known of a model."""
        settings = self._settings
        configured = settings.providers.get(provider)
        is_local = provider == "local" or (configured is not None and configured.api == "local")
        known = _IN_THE_BOX if is_local else family(model)
        context = settings.local.context_tokens if is_local else None
        if not is_local and self._prices.is_warm:
            context = self._prices.context_tokens(provider, model)
        own = settings.models.get(f"{provider}/{model}")
        if own is None:
            return Capability(
                context_tokens=context, tools=known.tools, vision=known.vision, json_schema=known.json_schema
            )
        return Capability(
            context_tokens=own.context_tokens or context,
            max_output_tokens=own.max_output_tokens,
            tools=known.tools if own.tools is None else own.tools,
            vision=known.vision if own.vision is None else own.vision,
            json_schema=known.json_schema if own.json_schema is None else own.json_schema,
        )
