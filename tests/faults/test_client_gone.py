"""A caller who hangs up at any moment: the upstream call is cancelled at once, and what was used is settled."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.conversations import user
from tests.support.sockets import Caller
from tests.support.starvation import Starvation
from tests.support.waiting import happens

if TYPE_CHECKING:
    from tests.support.provider.http import Received
    from tests.support.provider_server import ProviderServer
    from tests.support.server import RunningServer

CALLERS = 100
#: The upstream must see the end of its call this soon after the caller left; left alone, a stream would last 15 s and
#: a whole answer a minute. The upstream makes its words before it says the first, so a longer stream would delay itself.
#: On a machine that does nothing else it is 0.2: `CANCEL_SECONDS=0.2 pytest tests/faults/test_client_gone.py -s`.
CANCEL_SECONDS = float(os.environ.get("CANCEL_SECONDS", "3"))
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


@pytest.mark.parametrize("stream", [True, False], ids=["streams", "whole"])
async def test_a_hundred_callers_leave(
    server: RunningServer, member_key: str, provider: ProviderServer, *, stream: bool
) -> None:
    mark = f"leaving-{'stream' if stream else 'whole'}"
    dice = random.Random(7)
    # Callers, upstream and half the suite share two cores here. While the gateway's loop, or a thread of this process (it
    # plays the callers and the upstream), waits for a core, that is not the gateway's delay.
    ours = [(os.getpid(), thread.native_id) for thread in threading.enumerate() if thread.native_id]
    with Starvation((server.pid, server.pid), *ours) as starvation:
        arrived: set[int] = set()
        looking = asyncio.create_task(_look(provider, mark, arrived))
        left = dict(
            await asyncio.gather(
                *(
                    _leave(server, member_key, mark, n, dice, arrived=arrived, stream=stream)
                    for n in range(CALLERS)
                )
            )
        )
        looking.cancel()
        seen = [received for received in provider.requests(mark) if _number(received) in left]
        assert len(seen) >= CALLERS * 0.8, "most calls had reached the upstream when their caller left"
        await asyncio.to_thread(
            provider.wait, mark, lambda received: received.gone_at is not None, count=len(seen), seconds=40
        )
    spans = [(max(left[_number(received)], received.at), received.gone_at or 0) for received in seen]
    delays = sorted(gone - since for since, gone in spans)
    own = sorted(gone - since - starvation.within(since, gone) for since, gone in spans)
    print(
        f"upstream cancelled after {delays[len(delays) // 2]:.3f} s (median), {delays[-1]:.3f} s (slowest);"
        f" without waits for a core {own[len(own) // 2]:.3f} s and {own[-1]:.3f} s"
    )
    # The host may take a core away without a word in schedstat: a few may be late for that, not many.
    if starvation.available:
        assert own[len(own) * 95 // 100] <= CANCEL_SECONDS
    assert delays[len(delays) // 2] <= CANCEL_SECONDS
    assert delays[-1] <= 10 * CANCEL_SECONDS
    assert all(received.finished_at is None for received in seen)

    rows = await asyncio.to_thread(server.wait_rows, len(seen), feature=mark)
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert (row["status"], row["error"]) == (499, "client_gone")
        assert row["attempts"][-1]["outcome"] == "cancelled"
    # Sent is not received, by a second on a busy machine: compare with what the upstream had said when it was cut off.
    served = {_number(received): received.events for received in seen}
    for row in rows:
        if served.get(int(row["user"] or -1), 0) > 10:
            assert row["usage_source"] == "estimated"
            assert row["input_tokens"] > 0
            assert row["output_tokens"] > 0
            assert row["cut"] is True
    used = sum(row["output_tokens"] for row in rows)
    print(f"{used} output tokens settled over {len(rows)} abandoned answers")
    assert (used > 0) is stream


async def _leave(
    server: RunningServer,
    key: str,
    mark: str,
    number: int,
    dice: random.Random,
    *,
    arrived: set[int],
    stream: bool,
) -> tuple[int, float]:
    """Ask, read for a random time, hang up; returns when. Some do not care whether the upstream has the call yet."""
    name = ("openai", "anthropic")[number % 2]
    path = PATHS[("openai", "anthropic")[number // 2 % 2]]
    traits = "words=150+gap=0.1" if stream else "pause=60"
    body: dict[str, Any] = {"model": f"{name}/t+{traits}", "max_tokens": 500, "stream": stream}
    caller = Caller(server.url, key)
    stay, reset = dice.uniform(0.05, 3), dice.random() < 0.5
    headers = {"x-mainspring-feature": mark, "x-mainspring-user": str(number)}
    await caller.send(path, body | {"messages": user(f"{mark} number={number};")}, headers)
    if number % 5:
        await happens(lambda: number in arrived, 60)
    await caller.read_for(stay)
    return number, caller.hang_up(reset=reset)


async def _look(provider: ProviderServer, mark: str, arrived: set[int]) -> None:
    """Note the calls that have reached the upstream."""
    while True:
        arrived |= {_number(received) for received in provider.requests(mark)}
        await asyncio.sleep(0.05)


def _number(received: Received) -> int:
    text = received.body.decode()
    return int(text[text.index("number=") + 7 : text.index(";")])


async def test_no_further_attempt_after_the_caller_left(
    server: RunningServer, member_key: str, provider: ProviderServer
) -> None:
    mark = "left in the first attempt"
    provider.script("pair-first", "pause=3+status=503")
    caller = Caller(server.url, member_key)
    await caller.send(
        PATHS["openai"], {"model": "pair", "messages": user(mark)}, {"x-mainspring-feature": "left"}
    )
    await asyncio.to_thread(provider.wait, mark, lambda received: True)
    caller.hang_up()
    rows = await asyncio.to_thread(server.wait_rows, 1, feature="left")
    await asyncio.sleep(3.2)
    assert len(provider.requests(mark)) == 1
    assert [attempt["outcome"] for attempt in rows[0]["attempts"]] == ["cancelled"]


async def test_a_slow_reader_is_not_a_gone_reader(
    server: RunningServer, member_key: str, provider: ProviderServer
) -> None:
    mark = "reads slowly"
    caller = Caller(server.url, member_key)
    body = {"model": "openai/t+words=60+gap=0.02", "messages": user(mark), "stream": True}
    await caller.send(PATHS["openai"], body)
    await asyncio.sleep(1.5)
    assert b"[DONE]" in await caller.read_until(b"0\r\n\r\n")
    caller.hang_up()
    assert provider.requests(mark)[0].gone_at is None
