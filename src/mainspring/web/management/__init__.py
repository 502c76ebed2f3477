"""The management API under `/api/v1`, its reference at `/docs`, and health: keys, ledger, usage, feedback.

Handlers say who may ask, read what was asked and hand it to a room; bodies are built in `views`. What a key, an answer
or a sum is, the rooms below know. The API answers errors with RFC 9457 problem documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from mainspring.web.runtime import Runtime

__all__ = ["create_api"]


def create_api(runtime: Runtime) -> FastAPI:
    """The app for every path that is not a protocol surface: management, health, docs and the console."""
    from mainspring.web.management.app import create_api as create  # noqa: PLC0415 - the CLI wants `views` without FastAPI

    return create(runtime)
