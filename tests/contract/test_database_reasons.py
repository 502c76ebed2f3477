"""A database that cannot be used says why, in our words and without a word of its own."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from mainspring.base.errors import StoreUnavailable
from mainspring.store import open_database


def _with(url: str, *, user: str, name: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{user}:hunter2@{host}", f"/{name}", parts.query, ""))


@pytest.mark.parametrize(
    ("user", "name", "reason"),
    [
        ("postgres", "no_such_base", "there is no database of that name"),
        ("no_such_user", "postgres", "there is no user of that name"),
        ("may_nothing", "postgres", "this user may not do what is needed there"),
    ],
)
async def test_postgres(postgres_server: str, user: str, name: str, reason: str) -> None:
    if not postgres_server.startswith("postgresql://postgres@/"):
        pytest.skip("only a server of our own is sure to have such users and to let them in")
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(
            "DO $$ BEGIN CREATE ROLE may_nothing LOGIN; EXCEPTION WHEN duplicate_object THEN END $$"
        )
        admin.execute("REVOKE CREATE ON SCHEMA public FROM public")
    with pytest.raises(StoreUnavailable) as raised:
        await open_database(_with(postgres_server, user=user, name=name), wait_seconds=0.2)
    assert raised.value.message == f"The database cannot be used: {reason}."
    assert raised.value.remedy
    assert "hunter2" not in str(raised.value)
