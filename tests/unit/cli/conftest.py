"""Commands run in this process, in a folder and on a database of their own."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from mainspring.cli.app import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mainspring.ledger import Inference


class Ran:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


@pytest.fixture
def mainspring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ran]]:
    """Runs `mainspring ARGUMENTS` in an empty folder, with no model and no key from outside."""
    monkeypatch.chdir(tmp_path)
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    for option in (
        "HOST",
        "PORT",
        "WORKERS",
    ):  # `serve` hands these on to its workers; they end with the test
        monkeypatch.setenv(f"MAINSPRING_SERVER__{option}", "")
        monkeypatch.delenv(f"MAINSPRING_SERVER__{option}")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def command(*arguments: str) -> Ran:
        code = run(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    yield command
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def record(mainspring: Callable[..., Ran]) -> Callable[..., None]:
    """Puts answers into the ledger of the folder."""
    del mainspring  # it makes the folder

    def record(*rows: Inference, payload: tuple[bytes, bytes] | None = None) -> None:
        from mainspring.base.settings import load  # noqa: PLC0415 - keeps collection fast
        from mainspring.ledger import Payload  # noqa: PLC0415 - as above
        from mainspring.web.runtime import Runtime  # noqa: PLC0415 - as above

        async def work() -> None:
            runtime = await Runtime.open(load(), serve=False)
            for row in rows:
                kept = (
                    None if payload is None else Payload(id=row.id, request=payload[0], response=payload[1])
                )
                await runtime.ledger.append(row, kept)
            await runtime.close()

        asyncio.run(work())

    return record
