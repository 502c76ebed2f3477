"""Fixtures that every test may ask for live in tests/support, one file per kind of thing they start."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = [
    "tests.support.databases",
    "tests.support.local_models",
    "tests.support.provider_server",
    "tests.support.redis",
    "tests.support.server",
]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that runs in a test's process sets up logging for that process; the next test must not hear of it."""
    config, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.configure(**config)
    root.handlers[:] = handlers
    root.setLevel(level)
