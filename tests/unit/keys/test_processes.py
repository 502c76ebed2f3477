"""A change in one process is in force in another soon: within a second, where the machine has the time for both."""

from __future__ import annotations

import asyncio
import sys
import time

from mainspring.keys import KeyRing
from mainspring.store import open_database

#: What is not known then is not known; this is a busy machine.
SOON = 20.0
#: Follows the keys, and tells of every change in whether a secret works. Its clock is the machine's.
FOLLOWER = """
import asyncio, sys, time
from mainspring.base.errors import AuthenticationFailed
from mainspring.keys import KeyRing
from mainspring.store import open_database

async def main():
    database = await open_database(sys.argv[1])
    ring = KeyRing(database)
    await ring.start()
    print("ready", flush=True)
    secret, last = sys.stdin.readline().strip(), None
    while True:
        try:
            ring.check(secret)
            now = "works"
        except AuthenticationFailed:
            now = "refused"
        if now != last:
            print(now, time.time(), flush=True)
            last = now
        await asyncio.sleep(0.01)

asyncio.run(main())
"""


async def test_a_change_reaches_another_process_soon(database_url: str) -> None:
    database = await open_database(database_url)
    ring = KeyRing(database)
    follower = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FOLLOWER,
        database_url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert follower.stdin is not None
    assert follower.stdout is not None

    async def told() -> list[str]:
        assert follower.stdout is not None
        return (await asyncio.wait_for(follower.stdout.readline(), 60)).decode().split()

    try:
        assert await told() == ["ready"]
        key, secret = await ring.create(name="new")
        created = time.time()
        follower.stdin.write(f"{secret}\n".encode())
        state, when = await told()
        if state == "refused":  # it was asked before it had heard of the key
            state, when = await told()
        assert state == "works"
        assert float(when) - created < SOON
        await ring.revoke(key.id)
        revoked = time.time()
        state, when = await told()
        assert state == "refused"
        assert float(when) - revoked < SOON
    finally:
        follower.kill()
        await follower.wait()
        await database.close()
