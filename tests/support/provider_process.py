"""The scripted provider in a process of its own, which takes orders: fail like this, go away, come back."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class ProviderProcess:
    """A provider that can be told how to behave.

    Args:
        process: runs `tests.support.provider_server --control`.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.url = process.stdout.readline().split()[-1]

    def behave(self, traits: str = "", share: float = 1.0) -> None:
        """Answer everybody in one way, or a share of them; no traits are good answers."""
        self._order(f"behave {share} {traits}")

    def shut(self) -> None:
        """Refuse connections, and break those that there are."""
        self._order("shut")

    def open(self) -> None:
        """Take connections again."""
        self._order("open")

    @property
    def count(self) -> int:
        """Calls so far."""
        return self._order("count")

    def _order(self, order: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def provider_process() -> Iterator[ProviderProcess]:
    """A provider that ends with the block."""
    command = [
        sys.executable,
        "-m",
        "tests.support.provider_server",
        "--port",
        "0",
        "--keep",
        "1",
        "--control",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield ProviderProcess(process)
        finally:
            process.terminate()
