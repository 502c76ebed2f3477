"""What holds for every test. Fixtures that tests ask for live in tests/support, one file per kind of thing they start."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = [
    "tests.support.databases",
    "tests.support.local_models",
    "tests.support.provider_server",
    "tests.support.redis",
    "tests.support.server",
]

# A run is the same every time: what a random search finds is welcome, but not as a change that cannot land for it. Search
# with HYPOTHESIS_PROFILE=random. A busy machine is slow to draw examples, and that says nothing of the code.
_CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", _CALM, derandomize=True)
settings.register_profile("random", _CALM, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that runs in a test's process sets up logging for that process; the next test must not hear of it."""
    config, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.configure(**config)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def process_as_it_was(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same for everything else that belongs to the process and not to a test."""
    environment, folder, path, modules = dict(os.environ), Path.cwd(), list(sys.path), set(sys.modules)
    made = f"{tmp_path_factory.getbasetemp()}{os.sep}"
    threshold, handlers = gc.get_threshold(), {number: signal.getsignal(number) for number in _SIGNALS}
    yield
    os.chdir(folder)
    environment.pop("PYTEST_CURRENT_TEST", None)  # pytest's own, which goes with the test
    for name in set(os.environ) - set(environment) - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update(environment)
    sys.path[:] = path
    for name in set(sys.modules) - modules:  # a user's own modules, which another test has by the same name
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(made):
            del sys.modules[name]
    gc.set_threshold(*threshold)
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
