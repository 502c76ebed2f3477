"""The shared-state port, in memory and on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.waiting import happens

from mainspring.base.errors import ConfigError
from mainspring.store.shared import Allowance, Ask, Shared, Taken, open_shared
from mainspring.store.shared.memory import MemoryShared
from mainspring.store.shared.redis import RedisShared
from mainspring.store.shared.resp import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.redis import RedisServer

RATE = Allowance(100_000, 10)
TOKENS = Allowance(1_000, 1_000)
PLACES = Allowance(1_000_000, 3, drains=False)
_names = (f"test-{number}" for number in count())


def patient(server: RedisServer, **more: Any) -> RedisShared:
    """One that waits for a machine which is busy with other tests."""
    return RedisShared(Address.read(server.url), timeout_seconds=20, **more)


@pytest.fixture(autouse=True)
def time_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a second, for the same reason."""
    patience = "mainspring.store.shared.redis._CONNECT_SECONDS"
    monkeypatch.setattr(patience, 20.0)  # a busy machine may take its time to connect


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1e12

    def __call__(self) -> float:
        return self.now


Maker = Callable[..., Any]


@pytest.fixture(params=["memory", "redis"])
def opened(request: pytest.FixtureRequest) -> Maker:
    """A factory of the backend: `async with opened(clock) as shared`."""

    @asynccontextmanager
    async def make(clock: Clock) -> AsyncIterator[Shared]:
        shared: Shared
        if request.param == "memory":
            shared = MemoryShared(clock=clock)
        else:
            server: RedisServer = request.getfixturevalue("redis")
            shared = patient(server, clock=clock, server_clock=clock)
        await shared.start()
        await happens(lambda: shared.status().working)
        try:
            yield shared
        finally:
            await shared.close()

    return make


async def test_at_most_the_burst_and_then_the_rate(opened: Maker) -> None:
    clock, key = Clock(), next(_names)
    async with opened(clock) as shared:
        asks = [Ask(key, RATE, 1)]
        assert [(await shared.take(asks)).admitted for _ in range(12)] == [True] * 10 + [False] * 2
        clock.now += 99_000
        assert not (await shared.take(asks)).admitted
        clock.now += 1_000
        assert (await shared.take(asks)).admitted
        assert not (await shared.take(asks)).admitted
        clock.now += 1e9
        assert [(await shared.take(asks)).admitted for _ in range(12)] == [True] * 10 + [False] * 2


async def test_all_or_nothing(opened: Maker) -> None:
    clock, key = Clock(), next(_names)
    async with opened(clock) as shared:
        asks = [Ask(f"{key}-r", RATE, 1), Ask(f"{key}-t", TOKENS, 0, 400), Ask(f"{key}-p", PLACES, 0, 1)]
        taken = [await shared.take(asks) for _ in range(3)]
        assert [one.admitted for one in taken] == [True, True, False]
        # The denied one changed nothing, neither before nor after the ask that had no room.
        assert taken[2].levels == taken[1].levels == [200_000, 0, 0]
        assert taken[2].held == taken[1].held == [0, 800, 2]
        assert (await shared.take([asks[0], asks[2]])).held == [0, 3]


async def test_what_is_given_back_is_free_and_the_truth_is_counted(opened: Maker) -> None:
    clock, key = Clock(), next(_names)
    async with opened(clock) as shared:
        ask = Ask(key, TOKENS, 0, 600)
        assert (await shared.take([ask])).admitted
        assert not (await shared.take([ask])).admitted
        shared.give([Ask(key, TOKENS, 100, 600)])
        taken = await shared.take([ask])
        assert (taken.admitted, taken.levels, taken.held) == (True, [100_000], [600])


async def test_a_debt_delays(opened: Maker) -> None:
    clock, key = Clock(), next(_names)
    async with opened(clock) as shared:
        assert (await shared.take([Ask(key, TOKENS, 0, 10)])).admitted
        shared.give([Ask(key, TOKENS, 2_500, 10)])
        await asyncio.sleep(0.3)  # until it is there
        clock.now += 1_500_000 - 1_000
        assert not (await shared.take([Ask(key, TOKENS, 0, 2)])).admitted
        clock.now += 5_000
        assert (await shared.take([Ask(key, TOKENS, 0, 2)])).admitted


async def test_more_than_the_capacity_goes_through_an_empty_meter_only(opened: Maker) -> None:
    clock, key = Clock(), next(_names)
    async with opened(clock) as shared:
        large = Ask(key, TOKENS, 0, 5_000)
        assert (await shared.take([large])).admitted
        assert not (await shared.take([Ask(key, TOKENS, 0, 1)])).admitted
        shared.give([Ask(key, TOKENS, 5_000, 5_000)])
        assert not (await shared.take([large])).admitted
        clock.now += 5_000_000
        assert (await shared.take([large])).admitted


async def test_many_at_once_share_what_there_is(opened: Maker) -> None:
    clock, key = Clock(), next(_names)
    async with opened(clock) as shared:
        taken = await asyncio.gather(*(shared.take([Ask(key, RATE, 1)]) for _ in range(600)))
        assert sum(one.admitted for one in taken) == 10


async def test_names_of_any_kind(opened: Maker) -> None:
    clock = Clock()
    async with opened(clock) as shared:
        for name in ("", "a b", "ü\x00\n", "\ud800", "x" * 10_000):
            key = next(_names) + name
            assert (await shared.take([Ask(key, Allowance(1e6, 1), 1)])).admitted
            assert not (await shared.take([Ask(key, Allowance(1e6, 1), 1)])).admitted


_allowances = st.builds(
    Allowance,
    st.sampled_from([1_000.0, 100_000.0, 1e6 / 3, 60e6 / 90_001]),
    st.sampled_from([1.0, 2.5, 10.0, 1_000.0]),
)
_steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "settle"]),
        st.integers(0, 400_000),
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=3),
    ),
    max_size=40,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(allowances=st.lists(_allowances, min_size=2, max_size=2), steps=_steps)
def test_both_decide_the_same(redis: RedisServer, allowances: list[Allowance], steps: list[Any]) -> None:
    asyncio.run(_compare(redis, [*allowances, PLACES], steps))


async def _compare(server: RedisServer, allowances: list[Allowance], steps: list[Any]) -> None:
    clock, prefix = Clock(), next(_names)
    memory = MemoryShared(clock=clock)
    there = patient(server, clock=clock, server_clock=clock)
    await there.start()
    holding: list[list[Ask]] = []
    try:
        for kind, later, moves in steps:
            clock.now += later
            if kind == "settle":
                if holding:
                    back = holding.pop()
                    memory.give(back)
                    there.give(back)
                    await there.take([])  # it goes by the clock when it is sent
                continue
            asks = [
                Ask(
                    f"{prefix}-{number}",
                    allowances[number],
                    charge if allowances[number].drains else 0,
                    reserve if allowances[number].drains else 1,
                )
                for number, (charge, reserve) in {n: (c, r) for n, c, r in moves}.items()
            ]
            here_taken, there_taken = await memory.take(asks), await there.take(asks)
            _same(here_taken, there_taken)
            if here_taken.admitted:
                holding.append([Ask(a.key, a.allowance, 2 * a.reserve, a.reserve) for a in asks if a.reserve])
    finally:
        await there.close()


def _same(one: Taken, other: Taken) -> None:
    assert one.admitted == other.admitted
    assert list(one.levels) == pytest.approx(list(other.levels), abs=0.5)
    assert list(one.held) == list(other.held)


class TestRedis:
    async def test_processes_share(self, redis: RedisServer) -> None:
        key = next(_names)
        first, second = patient(redis), patient(redis)
        for shared in (first, second):
            await shared.start()
        slow = Allowance(60e6, 10)
        taken = await asyncio.gather(
            *(s.take([Ask(key, slow, 1)]) for _ in range(20) for s in (first, second))
        )
        assert sum(one.admitted for one in taken) == 10
        for shared in (first, second):
            await shared.close()

    async def test_what_a_dead_process_held_is_free_after_its_lease(
        self, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        dead, living = (patient(own_redis, server_clock=clock) for _ in range(2))
        await dead.start()
        await living.start()
        ask = [Ask("p", PLACES, 0, 1)]
        assert [(await dead.take(ask)).admitted for _ in range(4)] == [True, True, True, False]
        assert not (await living.take(ask)).admitted
        link = dead._link
        assert link is not None
        for task in dead._tasks:  # what kill -9 leaves: an entry that nobody renews
            task.cancel()
        dead._link = None
        link.close()
        clock.now += 4e6
        assert not (await living.take(ask)).admitted
        clock.now += 2e6
        taken = await living.take(ask)
        assert (taken.admitted, taken.held) == (True, [1])
        await living.close()

    async def test_whoever_leaves_gives_back(self, redis: RedisServer) -> None:
        ask = [Ask(next(_names), PLACES, 0, 3)]
        first, second = patient(redis), patient(redis)
        for shared in (first, second):
            await shared.start()
        assert (await first.take(ask)).admitted
        assert not (await second.take(ask)).admitted
        await first.close()
        assert (await second.take(ask)).admitted
        await second.close()

    async def test_whoever_was_cancelled_gives_back(self, redis: RedisServer) -> None:
        ask = [Ask(next(_names), PLACES, 0, 3)]
        shared = patient(redis)
        await shared.start()
        waiting = asyncio.create_task(shared.take(ask))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0.5)
        assert (await shared.take(ask)).admitted
        await shared.close()

    async def test_names_of_people_are_not_kept_there(self, own_redis: RedisServer) -> None:
        shared = patient(own_redis)
        await shared.start()
        await shared.take([Ask("ann@example.com", Allowance(1e6, 10), 1)])
        keys = own_redis.ask("KEYS", "*")
        assert "{mainspring}:" in keys
        assert "ann" not in keys
        await shared.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///1",
        "redis://a..b",
        "redis://host:port",
        "redis://host/db",
        "redis://host/1?x=1",
        "memcached://host",
        "memory",
        "localhost:6379",
        "redis://:secret@host:99999",
    ],
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_shared(url)
    assert caught.value.message.startswith("storage.shared: ")
    assert "secret" not in str(caught.value)
    assert "redis://" in caught.value.remedy


def test_addresses() -> None:
    assert str(Address.read("redis://host")) == "host:6379/0"
    address = Address.read("rediss://me:a%40b@host:7000/2")
    assert (address.username, address.password, address.tls, address.database) == ("me", "a@b", True, 2)
