from __future__ import annotations

import asyncio
import stat
from typing import TYPE_CHECKING

import pytest

from mainspring.base.clock import now_us
from mainspring.base.errors import AuthenticationFailed, ConfigError, Conflict, InvalidRequest, NotFound
from mainspring.keys import KeyRing
from mainspring.keys.secrets import digest_of, new_secret
from mainspring.store import open_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    from mainspring.store import Database

HOUR_US = 3_600_000_000


@pytest.fixture
async def ring(database: Database) -> AsyncIterator[KeyRing]:
    made = KeyRing(database)
    await made.start()
    yield made
    await made.close()


async def test_a_key_is_checked_and_its_secret_is_kept_nowhere(ring: KeyRing, database: Database) -> None:
    key, secret = await ring.create(
        name="web", tenant="acme", role="member", models=["default", "local/small"], payloads=False
    )
    assert secret.startswith("ms-")
    assert len(secret) == 43
    principal = ring.check(secret)
    assert (principal.key_id, principal.name, principal.tenant, principal.role) == (
        key.id,
        "web",
        "acme",
        "member",
    )
    assert principal.models == frozenset({"default", "local/small"})
    assert principal.payloads is False
    rows = await database.read(lambda c: c.rows("SELECT * FROM keys"))
    assert secret not in repr(rows)
    assert digest_of(secret) in [
        bytes(cell) for row in rows for cell in row if isinstance(cell, (bytes, memoryview))
    ]


@pytest.mark.parametrize("secret", ["", "ms-", "nonsense", "ms-" + "A" * 40, "\udc80", "x" * 100_000])
async def test_anything_else_is_not_a_key(ring: KeyRing, secret: str) -> None:
    await ring.create(name="a")
    with pytest.raises(AuthenticationFailed):
        ring.check(secret)


async def test_an_expired_key_stops(ring: KeyRing) -> None:
    key, secret = await ring.create(name="short", expires_us=now_us() + 1_500_000)
    assert ring.check(secret).key_id == key.id
    assert ring.active(key.id) is not None
    await asyncio.sleep(1.5)
    with pytest.raises(AuthenticationFailed, match="expired"):
        ring.check(secret)
    assert ring.active(key.id) is None


async def test_a_revoked_key_stops_at_once_and_stays_listed(ring: KeyRing) -> None:
    key, secret = await ring.create(name="gone", tenant="acme")
    with pytest.raises(NotFound):
        await ring.revoke(key.id, tenant="other")
    first = await ring.revoke(key.id)
    with pytest.raises(AuthenticationFailed, match="revoked"):
        ring.check(secret)
    assert (await ring.revoke(key.id)).revoked_us == first.revoked_us, "twice is no error and changes nothing"
    assert [each.id for each in (await ring.list()).items] == [key.id]
    with pytest.raises(NotFound):
        await ring.revoke("no-such-key")


async def test_a_slow_look_does_not_bring_a_revoked_key_back(database: Database) -> None:
    ring, elsewhere = KeyRing(database), KeyRing(database)
    key, secret = await elsewhere.create(name="a")
    read, go_on = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        if not read.is_set():
            read.set()
            await go_on.wait()

    ring.before_change = pause
    slow = asyncio.create_task(ring.refresh())
    await read.wait()  # the first look has read the key as it was before the revocation
    await elsewhere.revoke(key.id)
    quick = asyncio.create_task(ring.refresh())
    await asyncio.wait({quick}, timeout=0.5)
    go_on.set()
    await asyncio.gather(slow, quick)
    with pytest.raises(AuthenticationFailed, match="revoked"):
        ring.check(secret)


async def test_rotation_overlaps(ring: KeyRing) -> None:
    old, old_secret = await ring.create(
        name="web", tenant="acme", models=["a"], expires_us=now_us() + HOUR_US, settings={"rps": 5}
    )
    new, new_secret_ = await ring.rotate(old.id, overlap_seconds=1.5)
    assert ring.check(old_secret).key_id == old.id
    assert ring.check(new_secret_).key_id == new.id
    assert (new.name, new.tenant, new.models, new.settings) == ("web", "acme", ["a"], {"rps": 5})
    assert new.expires_us is not None
    assert abs(new.expires_us - new.created_us - HOUR_US) < 20_000_000, (
        "it lives as long as the old one was to"
    )
    assert (await ring.get(old.id)).replaced_by == new.id
    await asyncio.sleep(1.5)
    with pytest.raises(AuthenticationFailed, match="rotated"):
        ring.check(old_secret)
    assert ring.check(new_secret_).key_id == new.id


async def test_an_overlap_never_prolongs_a_key(ring: KeyRing) -> None:
    ends = now_us() + HOUR_US
    old, _ = await ring.create(name="a", expires_us=ends)
    await ring.rotate(old.id, overlap_seconds=86_400)
    assert (await ring.get(old.id)).expires_us == ends


async def test_only_a_living_key_can_be_rotated(ring: KeyRing) -> None:
    revoked, _ = await ring.create(name="a")
    await ring.revoke(revoked.id)
    rotated, _ = await ring.create(name="b")
    await ring.rotate(rotated.id)
    expired, _ = await ring.create(name="c", expires_us=now_us() + 500_000)
    await asyncio.sleep(0.5)
    for key in (revoked, rotated, expired):
        with pytest.raises(Conflict):
            await ring.rotate(key.id)
    with pytest.raises(NotFound):
        await ring.rotate("no-such-key")
    with pytest.raises(InvalidRequest):
        await ring.rotate(rotated.id, overlap_seconds=-1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"tenant": "t" * 201}, "tenant"),
        ({"role": "owner"}, "role"),
        ({"models": []}, "models"),
        ({"models": ["a", ""]}, "models"),
        ({"expires_us": 5}, "expires"),
        ({"expires_us": 1 << 70}, "expires"),
        ({"settings": {"rps": 0}}, "rps"),
        ({"settings": {"budget": {"usd": 5}}}, "budget"),
        ({"settings": {"budget": {"usd": -5, "window": "day"}}}, "budget"),
        ({"settings": {"budget": {"usd": 5, "window": "week"}}}, "budget"),
    ],
)
async def test_what_a_key_cannot_be(sqlite_url: str, fields: dict[str, Any], param: str) -> None:
    database = await open_database(sqlite_url)
    try:
        with pytest.raises(InvalidRequest) as raised:
            await KeyRing(database).create(**{"name": "a", "tenant": "t", **fields})
        assert raised.value.param == param
    finally:
        await database.close()


async def test_pages_are_newest_first_and_of_one_tenant(ring: KeyRing) -> None:
    made = [(await ring.create(name=f"k{n}", tenant="ab"[n % 2]))[0].id for n in range(7)]
    first = await ring.list(limit=3)
    second = await ring.list(limit=3, after=first.next)
    third = await ring.list(limit=3, after=second.next)
    assert [key.id for page in (first, second, third) for key in page.items] == made[::-1]
    assert third.next is None
    assert [key.id for key in (await ring.list(tenant="a")).items] == made[::2][::-1]
    with pytest.raises(NotFound):
        await ring.get(made[0], tenant="b")


async def test_last_use_is_written_down(ring: KeyRing, database: Database) -> None:
    key, secret = await ring.create(name="a")
    assert (await ring.get(key.id)).last_used_us is None
    ring.check(secret)
    used = (await ring.get(key.id)).last_used_us
    assert used is not None
    assert abs(used - now_us()) < 5_000_000
    await ring.close()
    other = KeyRing(database)
    assert (await other.get(key.id)).last_used_us == used


async def test_an_older_database_is_noticed(ring: KeyRing, database: Database) -> None:
    _, secret = await ring.create(name="a")
    await ring.create(name="b")
    await database.write(lambda c: (c.run("DELETE FROM keys"), c.run("UPDATE versions SET value = 1")))
    await ring.refresh()
    with pytest.raises(AuthenticationFailed):
        ring.check(secret)


class TestBootstrap:
    async def test_makes_an_admin_key_once(self, database: Database, tmp_path: Path) -> None:
        file = tmp_path / "state" / "admin.key"
        ring = KeyRing(database)
        secret = await ring.bootstrap(None, file)
        assert secret is not None
        assert file.read_text().strip() == secret
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert ring.check(secret).role == "admin"
        assert await ring.bootstrap(None, file) is None, "it is told once"
        assert len((await ring.list()).items) == 1
        assert [each.name for each in file.parent.iterdir()] == ["admin.key"], "nothing half-written stays"

    async def test_workers_that_start_together_make_one(self, database_url: str, tmp_path: Path) -> None:
        file = tmp_path / "admin.key"
        databases = [await open_database(database_url) for _ in range(4)]
        rings = [KeyRing(each) for each in databases]
        secrets = await asyncio.gather(*(ring.bootstrap(None, file) for ring in rings))
        assert sorted(secret is not None for secret in secrets) == [False, False, False, True]
        for ring in rings:
            assert ring.check(file.read_text().strip()).role == "admin"
        assert len((await rings[0].list()).items) == 1
        for each in databases:
            await each.close()

    async def test_a_kept_file_opens_a_new_database(self, database: Database, tmp_path: Path) -> None:
        file, secret = tmp_path / "admin.key", new_secret()
        file.write_text(secret + "\n")
        ring = KeyRing(database)
        assert await ring.bootstrap(None, file) is None
        assert ring.check(secret).role == "admin"

    async def test_no_second_key_when_the_file_was_taken_away(
        self, database: Database, tmp_path: Path
    ) -> None:
        file = tmp_path / "admin.key"
        ring = KeyRing(database)
        await ring.bootstrap(None, file)
        file.unlink()
        assert await ring.bootstrap(None, file) is None
        assert not file.exists()

    async def test_a_chosen_key_is_taken_over(self, database: Database, tmp_path: Path) -> None:
        ring = KeyRing(database)
        chosen = "a-key-that-somebody-chose"
        assert await ring.bootstrap(chosen, tmp_path / "admin.key") is None
        assert await ring.bootstrap(chosen, tmp_path / "admin.key") is None
        principal = ring.check(chosen)
        assert principal.role == "admin"
        assert not (tmp_path / "admin.key").exists()
        await ring.revoke(principal.key_id)
        with pytest.raises(ConfigError, match="revoked"):
            await ring.bootstrap(chosen, tmp_path / "admin.key")
        with pytest.raises(ConfigError, match="fewer than"):
            await ring.bootstrap("short", tmp_path / "admin.key")
        _, members = await ring.create(name="shop")
        with pytest.raises(ConfigError, match="the key 'shop', which is a member's"):
            await ring.bootstrap(members, tmp_path / "admin.key")

    async def test_a_file_that_holds_no_key_is_told(self, sqlite_url: str, tmp_path: Path) -> None:
        database = await open_database(sqlite_url)
        (tmp_path / "admin.key").write_text("\n")
        with pytest.raises(ConfigError, match="holds no admin key"):
            await KeyRing(database).bootstrap(None, tmp_path / "admin.key")
        await database.close()
