"""The management API of a real runtime, asked in process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from mainspring.base.clock import now_us
from mainspring.base.ids import new_id
from mainspring.base.settings import Settings
from mainspring.ledger import Attempt, Inference, Payload
from mainspring.web.management import create_api
from mainspring.web.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

ADMIN = "admin-key-of-the-tests"


@pytest.fixture
async def runtime(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runtime]:
    """Everything that a process has, on a fresh SQLite database."""
    monkeypatch.chdir(tmp_path)
    settings = Settings.model_validate(
        {"storage": {"database": sqlite_url, "blobs": "memory://"}, "admin_key": ADMIN}
    )
    opened = await Runtime.open(settings)
    yield opened
    await opened.close()


@pytest.fixture
async def admin(runtime: Runtime) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with the admin key."""
    async with _client(runtime, ADMIN) as client:
        yield client


@pytest.fixture
async def member(runtime: Runtime) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with the key of a member of the tenant acme."""
    _, secret = await runtime.keys.create(name="member", tenant="acme")
    async with _client(runtime, secret) as client:
        yield client


@pytest.fixture
async def nobody(runtime: Runtime) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a key."""
    async with _client(runtime, None) as client:
        yield client


def _client(runtime: Runtime, key: str | None) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    transport = httpx2.ASGITransport(app=create_api(runtime))
    return httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers)


@pytest.fixture
def answered(runtime: Runtime) -> Callable[..., Awaitable[Inference]]:
    """Records an answer with these fields."""

    async def record(payload: tuple[bytes, bytes] | None = None, **fields: Any) -> Inference:
        received = now_us()
        row = Inference(
            **{
                "id": new_id(),
                "received_us": received,
                "first_byte_us": received + 20_000,
                "done_us": received + 150_000,
                "tenant": "acme",
                "dialect": "openai.chat",
                "route": "default",
                "requested_model": "default",
                "provider": "openai",
                "model": "gpt",
                "attempts": [
                    Attempt("openai", "gpt", received + 1000, received + 149_000, received + 19_000)
                ],
                "status": 200,
                "input_tokens": 100,
                "output_tokens": 10,
                "usage_source": "provider",
                "cost_nusd": 123_456,
                "config_hash": "0" * 16,
                **fields,
            }
        )
        kept = None if payload is None else Payload(id=row.id, request=payload[0], response=payload[1])
        await runtime.ledger.append(row, kept)
        return row

    return record
