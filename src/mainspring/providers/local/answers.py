"""Answers: what llama.cpp says piece by piece, as chat completions and text completions of OpenAI's protocol.

A stream and a whole answer are made from the same deltas, so that they cannot differ.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.providers.local.toolcalls import ToolCall, ToolCallReader

if TYPE_CHECKING:
    from mainspring.providers.local.requests import Asked

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"


def event(document: Json) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


class ChatChoice:
    """One choice of a chat: engine pieces in, OpenAI's deltas out."""

    def __init__(self, index: int, asked: Asked) -> None:
        names = frozenset(tool["function"]["name"] for tool in asked.tools)
        self._index = index
        self._reader = ToolCallReader(names, single=asked.single_call) if names else None
        self._calls = 0
        self._logprobs: list[Json] = []
        self._ids: dict[int, str] = {}
        #: Whether the engine said why it stopped.
        self.finished = False

    def begin(self) -> list[Json]:
        """What comes before anything was said."""
        return [self._choice({"role": "assistant", "content": ""})]

    def feed(self, choice: Json) -> list[Json]:
        """What a choice of an engine piece comes to."""
        delta = choice.get("delta") or {}
        self._logprobs += (choice.get("logprobs") or {}).get("content") or []
        made: list[Json] = []
        if delta.get("reasoning_content"):
            made.append({"reasoning_content": delta["reasoning_content"]})
        if delta.get("content"):
            made += self._text(delta["content"])
        if delta.get("tool_calls"):
            made.append({"tool_calls": [self._engine_call(call) for call in delta["tool_calls"]]})
        choices = [self._choice(one) for one in made]
        if choice.get("finish_reason"):
            choices += self._finish(choice["finish_reason"])
        return choices

    def _finish(self, reason: str) -> list[Json]:
        self.finished = True
        rest = self._deltas(self._reader.end()) if self._reader is not None else []
        choices = [self._choice(delta) for delta in rest]
        last = self._choice({})
        last["finish_reason"] = "tool_calls" if self._calls and reason == "stop" else reason
        return [*choices, last]

    def _text(self, text: str) -> list[Json]:
        return [{"content": text}] if self._reader is None else self._deltas(self._reader.feed(text))

    def _deltas(self, parts: list[str | ToolCall]) -> list[Json]:
        return [
            {"content": part} if isinstance(part, str) else {"tool_calls": [self._call(part)]}
            for part in parts
        ]

    def _call(self, call: ToolCall) -> Json:
        function = {"name": call.name, "arguments": call.arguments}
        self._calls += 1
        return {"index": self._calls - 1, "id": call.id, "type": "function", "function": function}

    def _engine_call(self, call: Json) -> Json:
        """A call that the engine has found itself; its ids do not look like OpenAI's, which some clients check."""
        index = call.get("index", 0)
        if call.get("id"):
            self._calls += 1
            call["id"] = f"call_{secrets.token_hex(12)}"
        return {**call, "index": index}

    def _choice(self, delta: Json) -> Json:
        logprobs = None
        if self._logprobs:
            logprobs = {"content": [_logprob(one) for one in self._logprobs], "refusal": None}
            self._logprobs = []
        return {"index": self._index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


class TextChoice:
    """One choice of a text completion."""

    def __init__(self, index: int, asked: Asked) -> None:
        self._index = index
        self._echo = asked.prompts[index // asked.choices] if asked.echo else ""
        self._offset = 0
        #: Whether the engine said why it stopped.
        self.finished = False

    def begin(self) -> list[Json]:
        """What comes before anything was said: the prompt, if it is to be echoed."""
        return [self._choice(self._echo, None, None)] if self._echo else []

    def feed(self, choice: Json) -> list[Json]:
        """What a choice of an engine piece comes to."""
        reason = choice.get("finish_reason")
        self.finished = bool(reason)
        return [self._choice(choice.get("text", ""), self._tokens(choice.get("logprobs")), reason)]

    def _tokens(self, logprobs: Json | None) -> Json | None:
        """Log-probabilities in the form of the legacy protocol."""
        if not logprobs or not logprobs.get("content"):
            return None
        content, offsets = logprobs["content"], []
        for one in content:
            offsets.append(self._offset)
            self._offset += len(one["token"])
        return {
            "tokens": [one["token"] for one in content],
            "token_logprobs": [one["logprob"] for one in content],
            "top_logprobs": [
                {top["token"]: top["logprob"] for top in one["top_logprobs"]} for one in content
            ],
            "text_offset": offsets,
        }

    def _choice(self, text: str, logprobs: Json | None, reason: str | None) -> Json:
        return {"text": text, "index": self._index, "logprobs": logprobs, "finish_reason": reason}


class Answer:
    """An answer that is being made: envelope, choices and usage.

    Args:
        asked: the request.
        model: the name that the answer carries.
    """

    def __init__(self, asked: Asked, model: str) -> None:
        self._asked = asked
        self._chat = asked.kind == b"C"
        self._prompt_tokens = self._cached_tokens = self._completion_tokens = 0
        kind = "chat.completion" if self._chat else "text_completion"
        prefix = "chatcmpl" if self._chat else "cmpl"
        self._envelope: Json = {
            "id": f"{prefix}-{secrets.token_hex(14)}",
            "object": f"{kind}.chunk" if self._chat and asked.stream else kind,
            "created": int(time.time()),
            "model": model,
        }
        self._choices: list[ChatChoice | TextChoice] = []

    def begin(self) -> list[Json]:
        """Open the next choice."""
        number = len(self._choices)
        choice = ChatChoice(number, self._asked) if self._chat else TextChoice(number, self._asked)
        self._choices.append(choice)
        return choice.begin()

    def feed(self, piece: Json) -> list[Json]:
        """What an engine piece adds to the open choice."""
        usage = piece.get("usage")
        if usage:
            self._count(usage)
        return [made for choice in piece.get("choices") or () for made in self._choices[-1].feed(choice)]

    @property
    def finished(self) -> bool:
        """Whether the open choice has a finish reason."""
        return bool(self._choices) and self._choices[-1].finished

    def chunk(self, choice: Json) -> bytes:
        """A choice as an event of a stream."""
        return event({**self._envelope, "choices": [choice]})

    def closing(self) -> bytes:
        """What ends a stream: usage, if the caller wants it, and the end marker."""
        if not self._asked.include_usage:
            return DONE
        return event({**self._envelope, "choices": [], "usage": self._usage()}) + DONE

    def whole(self, choices: list[Json]) -> bytes:
        """The answer in one piece, from all that `begin` and `feed` returned."""
        by_index: dict[int, list[Json]] = {}
        for choice in choices:
            by_index.setdefault(choice["index"], []).append(choice)
        join = _whole_chat if self._chat else _whole_text
        joined = [join(index, parts) for index, parts in sorted(by_index.items())]
        return msgspec.json.encode({**self._envelope, "choices": joined, "usage": self._usage()})

    def _count(self, usage: Json) -> None:
        # A prompt that is asked for several choices counts once.
        if (len(self._choices) - 1) % self._asked.choices == 0:
            self._prompt_tokens += usage.get("prompt_tokens", 0)
            self._cached_tokens += (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        self._completion_tokens += usage.get("completion_tokens", 0)

    def _usage(self) -> Json:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self._prompt_tokens + self._completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self._cached_tokens},
        }


def _whole_chat(index: int, parts: list[Json]) -> Json:
    deltas = [part["delta"] for part in parts]
    text = "".join(delta.get("content") or "" for delta in deltas)
    reasoning = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    calls: dict[int, Json] = {}
    for call in (call for delta in deltas for call in delta.get("tool_calls") or ()):
        if call["index"] not in calls:
            calls[call["index"]] = {
                "id": call.get("id"),
                "type": "function",
                "function": {"name": "", "arguments": ""},
            }
        for field, value in (call.get("function") or {}).items():
            calls[call["index"]]["function"][field] = calls[call["index"]]["function"].get(field, "") + (
                value or ""
            )
    message: Json = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [calls[number] for number in sorted(calls)]
    tokens = [token for part in parts if part["logprobs"] for token in part["logprobs"]["content"]]
    return {
        "index": index,
        "message": message,
        "logprobs": {"content": tokens, "refusal": None} if tokens else None,
        "finish_reason": parts[-1]["finish_reason"],
    }


def _whole_text(index: int, parts: list[Json]) -> Json:
    logprobs: Json | None = None
    for part in parts:
        if part["logprobs"] and logprobs is None:
            logprobs = part["logprobs"]
        elif part["logprobs"] and logprobs is not None:
            logprobs = {field: logprobs[field] + part["logprobs"][field] for field in logprobs}
    text = "".join(part["text"] for part in parts)
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": parts[-1]["finish_reason"]}


def _logprob(token: Json) -> Json:
    """A token's log-probability without the engine's own fields."""
    own = {field: token[field] for field in ("token", "logprob", "bytes")}
    tops = [
        {field: top[field] for field in ("token", "logprob", "bytes")}
        for top in token.get("top_logprobs") or ()
    ]
    return {**own, "top_logprobs": tops}
