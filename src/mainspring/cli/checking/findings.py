"""What `mainspring check` found: one line each, and what to do where something is to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from mainspring.base.errors import MainspringError


class Finding(msgspec.Struct):
    """One thing that was looked at. `works` is None for what is absent and need not be there."""

    subject: str
    works: bool | None
    detail: str
    remedy: str = ""
    #: It works, but somebody should do something.
    warns: bool = False

    @property
    def mark(self) -> str:
        """The word at the beginning of its line."""
        if self.warns:
            return "warns"
        return {True: "ok", False: "FAILS", None: "absent"}[self.works]


def good(subject: str, detail: str) -> Finding:
    """Something that works."""
    return Finding(subject, works=True, detail=detail)


def doubtful(subject: str, detail: str, remedy: str) -> Finding:
    """Something that works, but that somebody should look at."""
    return Finding(subject, works=True, detail=detail, remedy=remedy, warns=True)


def absent(subject: str, detail: str, remedy: str) -> Finding:
    """Something that is not there, and need not be."""
    return Finding(subject, works=None, detail=detail, remedy=remedy)


def failed(subject: str, detail: str, remedy: str) -> Finding:
    """Something that does not work."""
    return Finding(subject, works=False, detail=detail, remedy=remedy)


def refused(subject: str, error: MainspringError) -> Finding:
    """Something that does not work, as an error tells it."""
    return failed(subject, error.message, error.remedy)
