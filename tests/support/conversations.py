"""What the tests say to a model: one question, tools, an image and a schema, in the words of each dialect."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pydantic

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A PNG of one pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PIXEL_TEXT = base64.b64encode(PIXEL).decode()

#: What the scripted provider puts into every text argument: two-, three- and four-byte characters.
PARIS = "Paris \u00e9\u4e2d\U0001f600"

_WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
_CLOCK = {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}

OPENAI_TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather.", "parameters": _WEATHER},
    },
    {"type": "function", "function": {"name": "get_time", "description": "Time.", "parameters": _CLOCK}},
]
ANTHROPIC_TOOLS: Any = [
    {"name": "get_weather", "description": "Weather.", "input_schema": _WEATHER},
    {"name": "get_time", "description": "Time.", "input_schema": _CLOCK},
]
RESPONSES_TOOLS: Any = [
    {
        "type": "function",
        "name": "get_weather",
        "description": "Weather.",
        "parameters": _WEATHER,
        "strict": False,
    },
    {"type": "function", "name": "get_time", "description": "Time.", "parameters": _CLOCK, "strict": False},
]
#: What the scripted provider calls when it is offered these tools.
CALLS = [("get_weather", {"city": PARIS, "days": 7}), ("get_time", {"zone": PARIS})]


class City(pydantic.BaseModel):
    """A schema for structured answers."""

    name: str
    people: int


def user(text: str) -> Any:
    """One message of the user; the same in both dialects."""
    return [{"role": "user", "content": text}]


def openai_image(text: str) -> Any:
    """A message with an image, as OpenAI's chat has it."""
    url = {"url": f"data:image/png;base64,{PIXEL_TEXT}"}
    return [
        {"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": url}]}
    ]


def anthropic_image(text: str) -> Any:
    """A message with an image, as Anthropic has it."""
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL_TEXT}
    return [
        {"role": "user", "content": [{"type": "text", "text": text}, {"type": "image", "source": source}]}
    ]


def sse(text: str | bytes) -> list[tuple[str | None, Any]]:
    """The events of a whole stream as name and decoded data; `[DONE]` and comments as they are.

    Raises:
        ValueError: a block is no event.
    """
    events: list[tuple[str | None, Any]] = []
    whole = text.decode() if isinstance(text, bytes) else text
    for block in whole.replace("\r\n", "\n").split("\n\n"):
        if not block or block.startswith(":"):
            continue
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = fields["data"]
        events.append((fields.get("event"), data if data == "[DONE]" else json.loads(data)))
    return events


def chat_text(chunks: Iterable[Any]) -> str:
    """The text of a streamed chat, from the client's own chunk objects."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
