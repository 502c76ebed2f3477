"""What the scripted provider says: an answer thought up once, then spelt in OpenAI's or Anthropic's words.

The answer follows from the request, so that a test can tell that nothing got lost on the way: the last words of the
user come back, images come back as facts (media type, size, hash), every tool that is offered is called once, a JSON
schema is filled in, asking for thinking brings thinking.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.support.provider.behaviour import Behaviour

CREATED = 1_760_000_000
SIGNATURE = "c2lnbmF0dXJlOi8rPT0="
TOOL_PREFIX = "Let me look that up."


class Event(NamedTuple):
    """One server-sent event; `content` says whether it carries something of the answer itself."""

    data: bytes
    content: bool = False


@dataclass
class Answer:
    """What the model says, in no dialect."""

    model: str
    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    embeddings: list[list[float]] = field(default_factory=list)
    input: int = 20
    cached: int = 0
    written: int = 0
    reasoning: int = 0
    finish: str = "stop"

    @property
    def output(self) -> int:
        """Tokens of text and calls: one a word."""
        return len(self.words) + sum(len(arguments) for _, arguments in self.calls)

    @property
    def words(self) -> list[str]:
        """The text in the pieces in which it streams; joined they are the text."""
        return pieces(self.text)


def dumps(value: Any) -> bytes:
    """JSON as providers send it: no spaces, no escapes that are not needed."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def pieces(text: str) -> list[str]:
    """A text in words; joined they are the text."""
    return [word if i == 0 else " " + word for i, word in enumerate(text.split(" "))] if text else []


def call_id(index: int, *, anthropic: bool) -> str:
    """The id of the n-th tool call of an answer."""
    return f"{'toolu' if anthropic else 'call'}_{index:024d}"


def think(path: str, document: dict[str, Any], behaviour: Behaviour) -> Answer:
    """Make up the answer to a request of any of the surfaces."""
    answer = Answer(
        model=str(document.get("model", "")),
        input=behaviour.input,
        cached=behaviour.cached,
        written=behaviour.written,
        reasoning=behaviour.reasoning,
    )
    if path.endswith("/embeddings"):
        given = document.get("input")
        texts = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
        answer.embeddings = [_vector(text, document.get("dimensions") or 8) for text in texts]
        return answer
    facts = _Facts(document)
    if _wants_thinking(document):
        answer.thinking = "First I think about it."
        answer.reasoning = answer.reasoning or 6
    if behaviour.words:
        answer.text = _rest(" ".join(f"w{i}" for i in range(behaviour.words)), document)
    elif facts.schema is not None:
        answer.text = json.dumps(example(facts.schema))
    elif facts.tools and not facts.tool_results and facts.choice != "none":
        answer.calls = [
            (name, json.dumps(example(schema)))
            for name, schema in facts.tools.items()
            if facts.choice in {"", name}
        ]
        answer.finish = "tool_calls"
    else:
        answer.text = facts.reply()
    return answer


def _rest(text: str, document: dict[str, Any]) -> str:
    """What is left of a text of which the request holds the beginning, as the assistant's last turn or in the prompt."""
    turns = [
        turn
        for turn in document.get("messages") or []
        if turn.get("role") != "user" or "cut off" not in str(turn)
    ]
    begun = turns[-1].get("content") if turns and turns[-1].get("role") == "assistant" else None
    if isinstance(begun, list):
        begun = "".join(part.get("text", "") for part in begun)
    prompt = document.get("prompt")
    if isinstance(prompt, str):
        begun = next((text[:end] for end in range(len(text), 0, -1) if prompt.endswith(text[:end])), None)
    return text[len(begun) :] if begun and text.startswith(begun) else text


def _wants_thinking(document: dict[str, Any]) -> bool:
    thinking = document.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") in {"enabled", "adaptive"}:
        return True
    return bool(document.get("reasoning_effort")) or isinstance(document.get("reasoning"), dict)


class _Facts:
    """What a request says, whichever dialect it is in."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.tools: dict[str, Any] = {}
        self.images: list[str] = []
        self.tool_results: list[str] = []
        self.system: list[str] = []
        self.said = ""
        self.schema = self._schema(document)
        self.choice = self._choice(document.get("tool_choice"))
        for tool in document.get("tools") or []:
            function = tool.get("function") or tool
            self.tools[function["name"]] = function.get("parameters") or function.get("input_schema") or {}
        if isinstance(document.get("prompt"), str):
            self.said = document["prompt"]
        self._walk_system(document.get("system") or document.get("instructions"))
        messages = document.get("messages", document.get("input"))
        if isinstance(messages, str):
            self.said = messages
        elif isinstance(messages, list):
            for message in messages:
                self._message(message)

    @staticmethod
    def _schema(document: dict[str, Any]) -> dict[str, Any] | None:
        given = document.get("response_format") or (document.get("text") or {}).get("format")
        given = given or (document.get("output_config") or {}).get("format") or document.get("output_format")
        if not isinstance(given, dict) or given.get("type") != "json_schema":
            return None
        schema: dict[str, Any] = given.get("schema") or given["json_schema"]["schema"]
        return schema

    @staticmethod
    def _choice(choice: Any) -> str:
        """The one tool that must be called, `none`, or an empty text for any."""
        if isinstance(choice, dict):
            if choice.get("type") == "none":
                return "none"
            function = choice.get("function")
            return str((function or choice).get("name") or "")
        return "none" if choice == "none" else ""

    def _walk_system(self, system: Any) -> None:
        if isinstance(system, str):
            self.system.append(system)
        elif isinstance(system, list):
            self.system += [part["text"] for part in system if part.get("type") == "text"]

    def _message(self, message: dict[str, Any]) -> None:
        kind, role, content = message.get("type"), message.get("role"), message.get("content")
        if role in {"system", "developer"}:
            self._walk_system(content)
            return
        if role == "tool" or kind == "function_call_output":
            result = message.get("output") if kind == "function_call_output" else content
            self.tool_results.append(_text_of(result))
            return
        if role == "user":
            self.tool_results = []
            self.said = ""
        if isinstance(content, str):
            self.said = content if role == "user" else self.said
            return
        for part in content or []:
            self._part(part, user=role == "user")

    def _part(self, part: dict[str, Any], *, user: bool) -> None:
        kind = part.get("type")
        if kind in {"text", "input_text"} and user:
            self.said += part["text"]
        elif kind == "image_url":
            self._image(part["image_url"]["url"])
        elif kind == "input_image":
            self._image(part["image_url"])
        elif kind == "image":
            source = part["source"]
            self._image(
                source["url"]
                if source["type"] == "url"
                else f"data:{source['media_type']};base64,{source['data']}"
            )
        elif kind == "tool_result":
            self.tool_results.append(_text_of(part.get("content")))

    def _image(self, url: str) -> None:
        if not url.startswith("data:"):
            self.images.append(url)
            return
        head, _, data = url.partition(",")
        raw = base64.b64decode(data)
        digest = hashlib.sha256(raw).hexdigest()[:12]
        self.images.append(f"{head[5:].partition(';')[0]} of {len(raw)} bytes, sha256 {digest}")

    def reply(self) -> str:
        """Everything that was noticed, as the text of the answer."""
        parts = [f"You said: {self.said}"] if self.said else []
        parts += [f"System: {text}" for text in self.system]
        parts += [f"Image: {image}" for image in self.images]
        parts += [f"Tool result: {result}" for result in self.tool_results]
        return " | ".join(parts) or "Nothing was said."


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return str(content)


def example(schema: dict[str, Any]) -> Any:
    """A value that fits a JSON schema (of the simple kind that tools have)."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "$ref" in schema or "anyOf" in schema:
        return example(schema["anyOf"][0]) if "anyOf" in schema else {}
    kind = schema.get("type")
    if kind == "object":
        return {name: example(inner) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema.get("items", {}))]
    values: dict[Any, Any] = {"integer": 7, "number": 2.5, "boolean": True, "null": None}
    return values.get(kind, "Paris \u00e9\u4e2d\U0001f600")


def _vector(text: Any, dimensions: int) -> list[float]:
    digest = hashlib.sha256(json.dumps(text).encode()).digest() * (dimensions // 32 + 1)
    return [byte / 256 for byte in digest[:dimensions]]


def embedding(answer: Answer, document: dict[str, Any]) -> dict[str, Any]:
    """The body of `/v1/embeddings`."""
    packed = document.get("encoding_format") == "base64"
    return {
        "object": "list",
        "model": answer.model,
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
                if packed
                else vector,
            }
            for index, vector in enumerate(answer.embeddings)
        ],
        "usage": {"prompt_tokens": answer.input, "total_tokens": answer.input},
    }
