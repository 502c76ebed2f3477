"""The drill of secrets rotated under load: no call fails, whatever the order in which the world changes.

    python -m tests.faults.rotation_drill --rounds 10 --workers 2

A real server calls a provider with two keys, one kept in a file, one in Vault, while callers ask without pause, half
of them for streams. In each round both keys are replaced at their sources. In the first half of the rounds the provider
accepts the old ones a while longer, as providers do; in the others it takes back the old ones in the same moment, so
that calls with them are refused. Not one caller may see an error, and when the provider has taken a key back, it is soon
not sent any more.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
from tests.support.provider_server import ProviderServer
from tests.support.server import RunningServer, running
from tests.support.vault import TOKEN, VaultServer

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLERS = 12
CONFIG = """
[providers.up]
base_url = "{url}/v1"
api_keys = ["file:{file}", "vault:secret/team/up#api_key"]
[routes.default]
targets = ["up/rotating"]
[secrets]
reread_seconds = {period}
"""
#: How often Vault is read, and how long the provider accepts the old keys.
PERIOD, GRACE = 1.0, 2.5
#: Between two rounds in which the provider gives no time: a secret is read again out of turn once in some seconds.
PAUSE = 5.5
#: How long after the provider took them back the old keys may still be sent, in seconds.
PATIENCE = 1.5
_LOOK = 0.1


@dataclass
class Verdict:
    """What one round was like.

    Attributes:
        graceful: the provider accepted the old keys a while longer.
        answered: requests that were answered well.
        failed: by status, or by what broke.
        refused: calls that the provider refused, which no caller saw.
        late: calls with an old key after everything had settled.
    """

    number: int
    graceful: bool
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    late: int = 0
    new_keys_used: int = 0

    @property
    def good(self) -> bool:
        """Whether nobody noticed, and both new keys are in use."""
        return not self.failed and not self.late and self.new_keys_used == 2


class Load:
    """Callers who ask without pause until they are told to stop."""

    def __init__(self, server: RunningServer, key: str) -> None:
        self._url = f"{server.url}/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {key}"}
        self._stopping = False
        self.answered = 0
        self.failed: Counter[str] = Counter()

    async def call(self, number: int) -> None:
        """One caller; odd ones stream."""
        body = {
            "model": "default",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": bool(number % 2),
        }
        async with httpx2.AsyncClient(headers=self._headers, timeout=60, trust_env=False) as client:
            while not self._stopping:
                try:
                    answer = await client.post(self._url, json=body)
                except httpx2.HTTPError as error:
                    self.failed[type(error).__name__] += 1
                    continue
                whole = not body["stream"] or answer.text.rstrip().endswith("data: [DONE]")
                if answer.status_code == 200 and whole:
                    self.answered += 1
                else:
                    self.failed[f"{answer.status_code} {answer.text[:200]}"] += 1

    def stop(self) -> None:
        """Let every caller finish what it has begun."""
        self._stopping = True


def drill(rounds: int, folder: Path, *, workers: int = 1, patience: float = PATIENCE) -> Iterator[Verdict]:
    """Run rounds one after another, each with new keys; `patience` is how long old ones may be sent, in seconds."""
    upstream, vault = ProviderServer(keep=1_000_000), VaultServer()
    upstream.start()
    vault.start()
    file = folder / "up.key"
    file.write_text("sk-file-0\n")
    vault.put("secret/team/up", api_key="sk-vault-0")
    upstream.accepts = frozenset({"sk-file-0", "sk-vault-0"})
    config = CONFIG.format(url=upstream.url, file=file, period=PERIOD)
    env = {"VAULT_ADDR": vault.url, "VAULT_TOKEN": TOKEN}
    try:
        with running(RunningServer(folder / "server", config, env=env, workers=workers)) as server:
            key = server.create_key("drill")
            for number in range(1, rounds + 1):
                graceful = number * 2 <= rounds + 1
                load = Load(server, key)
                yield asyncio.run(_round(number, upstream, vault, file, load, patience, graceful=graceful))
    finally:
        upstream.stop()
        vault.stop()


async def _round(  # noqa: PLR0917 - one call, right above
    number: int,
    upstream: ProviderServer,
    vault: VaultServer,
    file: Path,
    load: Load,
    patience: float,
    *,
    graceful: bool,
) -> Verdict:
    verdict = Verdict(number, graceful)
    old = upstream.accepts or frozenset()
    new = frozenset({f"sk-file-{number}", f"sk-vault-{number}"})
    callers = [asyncio.create_task(load.call(place)) for place in range(CALLERS)]
    await asyncio.sleep(1 if graceful else PAUSE)
    begun = len(upstream.received)
    if graceful:
        upstream.accepts = old | new
    vault.put("secret/team/up", api_key=f"sk-vault-{number}")
    file.write_text(f"sk-file-{number}\n")  # noqa: ASYNC240 - a few bytes, as a person or an agent writes them
    if graceful:
        await asyncio.sleep(GRACE)
    upstream.accepts = new
    await _settle(upstream, old, patience)
    settled = time.monotonic()
    await asyncio.sleep(0.5)
    load.stop()
    await asyncio.gather(*callers)
    calls = [call for call in list(upstream.received)[begun:] if "/chat/" in call.path]
    verdict.answered, verdict.failed = load.answered, load.failed
    verdict.late = sum(call.key() in old for call in calls if call.at > settled)
    verdict.new_keys_used = len({call.key() for call in calls} & new)
    verdict.refused = sum(call.key() in old for call in calls) if not graceful else 0
    return verdict


async def _settle(upstream: ProviderServer, old: frozenset[str], patience: float) -> None:
    """Until nobody has sent an old key for a second; no longer than may be."""
    since, limit = time.monotonic(), time.monotonic() + patience
    while time.monotonic() < limit:
        await asyncio.sleep(_LOOK)
        lately = max(since, time.monotonic() - 1)
        keys = {call.key() for call in list(upstream.received) if call.at > lately}
        if lately > since and keys and not keys & old:
            return


def main() -> None:
    """Run by itself."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    verdicts = []
    with tempfile.TemporaryDirectory() as folder:
        for verdict in drill(arguments.rounds, Path(folder), workers=arguments.workers):
            print(verdict, flush=True)
            verdicts.append(verdict)
    bad = sum(not verdict.good for verdict in verdicts)
    print(f"{len(verdicts)} rounds, {sum(v.answered for v in verdicts)} answers, {bad} rounds were not good")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
