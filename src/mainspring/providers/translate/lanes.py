"""Putting interleaved deltas in order, for protocols whose blocks follow one another.

Every kind of content, and every tool call, is a lane. The lane in front streams as it comes; the others wait. It makes
way when something comes for another lane and it is whole: text and thinking always are, a tool call is when its
arguments are complete JSON. So parallel calls that a provider sends one after another stream without delay, and only
calls that it really interleaves wait for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mainspring.providers.translate.hub import ToolCall


class CallNumbers:
    """Numbers the tool calls of a stream.

    The index should tell calls apart, but some servers send every call under the same one; then a new id does.
    """

    def __init__(self) -> None:
        self._latest: dict[int, tuple[str | None, int]] = {}
        self._count = 0

    def of(self, call: ToolCall) -> int:
        """The number of the call that a delta belongs to, counted from 0 in order of appearance."""
        index = call.index or 0
        known = self._latest.get(index)
        if known is None or (call.id and known[0] and call.id != known[0]):
            self._latest[index] = (call.id, self._count)
            self._count += 1
        elif call.id and not known[0]:
            self._latest[index] = (call.id, known[1])
        return self._latest[index][1]


class Lane:
    """One block to be: what it is, what waits to be written, and for a tool call the whole of its arguments."""

    __slots__ = ("call_id", "kind", "name", "pieces", "waiting", "whole")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.call_id: str | None = None
        self.name: str | None = None
        self.waiting: list[str] = []
        self.pieces: list[str] = []
        self.whole = False

    def is_tool(self) -> bool:
        """Whether this is a tool call."""
        return self.kind.startswith("tool")


class Lanes:
    """The lanes of one stream, in the order in which they began."""

    def __init__(self) -> None:
        self._queue: list[Lane] = []
        self._closed: set[str] = set()
        self._finished = False

    def push(self, kind: str, text: str, *, call_id: str | None = None, name: str | None = None) -> None:
        """Add to a lane, beginning it if need be. What comes for a tool call that was ended as whole is padding."""
        lane = next((lane for lane in self._queue if lane.kind == kind and not lane.whole), None)
        if lane is None:
            if kind in self._closed:
                return
            lane = Lane(kind)
            self._queue.append(lane)
        lane.call_id = lane.call_id or call_id
        lane.name = lane.name or name
        if text:
            lane.waiting.append(text)
            if lane.is_tool():
                lane.pieces.append(text)

    def finish(self) -> None:
        """Nothing more comes: every lane is whole."""
        self._finished = True

    def release(self) -> Iterator[tuple[Lane, str]]:
        """What may be written now, in order. A lane is named once even if it holds no text.

        A tool call is held until its name is known; everything of a lane is written before the next one begins.
        """
        while self._queue:
            front = self._queue[0]
            if front.is_tool() and front.name is None and not self._finished:
                return
            text = "".join(front.waiting)
            front.waiting.clear()
            yield front, text
            if len(self._queue) == 1 or not (self._finished or self._is_whole(front)):
                return
            front.whole = True
            if front.is_tool():
                self._closed.add(front.kind)
            self._queue.pop(0)

    def _is_whole(self, lane: Lane) -> bool:
        if not lane.is_tool():
            return True
        try:
            msgspec.json.decode("".join(lane.pieces))
        except (msgspec.DecodeError, RecursionError):
            return False
        return True
