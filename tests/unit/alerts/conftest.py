"""An instance's database and ledger, without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.receivers import WebhookReceiver

from mainspring.base.clock import now_us
from mainspring.base.ids import id_at
from mainspring.ledger import Inference, Ledger
from mainspring.store import open_blobs, open_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from mainspring.store import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_database(f"sqlite:///{tmp_path}/alerts.db")
    yield opened
    await opened.close()


class Book:
    """A ledger that answers can be made up in."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def answers(
        self,
        number: int,
        *,
        errors: int = 0,
        ago_s: float = 0,
        provider: str = "openai",
        tenant: str = "acme",
        cost_nusd: int = 1000,
        latency_us: int = 50_000,
        feature: str | None = None,
    ) -> None:
        """Record so many answers of one instant, the first `errors` of them failed."""
        at = now_us() - round(ago_s * 1_000_000)
        for index in range(number):
            await self.ledger.append(
                Inference(
                    id=id_at(at),
                    received_us=at,
                    done_us=at + latency_us,
                    tenant=tenant,
                    feature=feature,
                    dialect="openai.chat",
                    requested_model="m",
                    provider=provider,
                    model="m",
                    status=500 if index < errors else 200,
                    cost_nusd=cost_nusd,
                    config_hash="c",
                )
            )


@pytest.fixture
def book(database: Database, tmp_path: Path) -> Book:
    blobs = open_blobs(f"file://{tmp_path}/blobs")
    return Book(Ledger(database, blobs, durability="relaxed", inline_kb=64))


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as made:
        yield made
