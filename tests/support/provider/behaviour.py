"""How the scripted provider misbehaves: traits that a test writes into the model's name or puts into a queue.

`test+status=429+retry_after=7` is refused, `test+words=50+gap=0.02+cut=content` breaks off in the middle. The part
before the first plus is free, so that a test can find its own requests.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

#: Content events that go out before a stream is cut, ended, hung or broken "in the content".
CONTENT_BEFORE_FAILURE = 3


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One way to answer. The default is to answer well.

    Attributes:
        status: the HTTP status; from 400 on the body is an error of the dialect.
        retry_after: seconds for a `Retry-After` header, if not negative.
        code: `context` makes a 400 say that the context is too long.
        pause: seconds of silence before the head of the answer.
        silence: seconds of silence after the head, before the first event.
        gap: seconds between events.
        hang: `headers`, `body`, `start` or `content`: the place at which nothing comes any more.
        cut: `headers`, `body`, `start` or `content`: the place at which the connection breaks.
        eof: `body`, `start` or `content`: the place at which the body ends as if all were well.
        error: `start` or `content`: an error event inside the 200 stream, in place of the rest.
        body: `garbage`, `html`, `empty` or `list`: the whole body is not an answer.
        usage: `none` leaves out the usage.
        done: `no` leaves out OpenAI's `[DONE]` after a proper finish.
        blank: `no` leaves out the blank line after the last event; with `eof=content` one more event goes out
            whole but for that line.
        split: the stream goes out in pieces of this many bytes.
        burst: all events in one packet.
        crlf: events end in CRLF.
        framing: `close` ends the body by closing the connection, not by its length.
        words: the answer is this many words.
        input, cached, written, reasoning: token counts, in exclusive buckets.
        unknown: fields that no client knows are in the answer.
        left: requests left of this minute, told in the headers of the dialect, if not negative.
    """

    status: int = 200
    retry_after: int = -1
    code: str = ""
    pause: float = 0
    silence: float = 0
    gap: float = 0
    hang: str = ""
    cut: str = ""
    eof: str = ""
    error: str = ""
    body: str = ""
    usage: str = ""
    done: str = ""
    blank: str = ""
    split: int = 0
    burst: int = 0
    crlf: int = 0
    framing: str = ""
    words: int = 0
    input: int = 20
    cached: int = 0
    written: int = 0
    reasoning: int = 0
    unknown: int = 0
    left: int = -1

    @classmethod
    def parse(cls, model: str) -> Behaviour:
        """Read the traits off a model's name; a trait without a value is 1.

        Raises:
            ValueError: there is no such trait, so that a typing error in a test does not pass as good behaviour.
        """
        values: dict[str, Any] = {}
        for trait in model.split("+")[1:]:
            name, _, value = trait.partition("=")
            if name not in _KINDS:
                raise ValueError(f"no such trait: {name!r}")
            values[name] = _KINDS[name](value or 1)
        return cls(**values)


_KINDS = {item.name: {"int": int, "float": float, "str": str}[str(item.type)] for item in fields(Behaviour)}
