"""The secrets that a process uses: in memory, with their problems, read again when they change."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from mainspring.base.clock import monotonic
from mainspring.base.errors import MainspringError, SecretError, SecretUnavailable
from mainspring.base.logging import get_logger
from mainspring.base.secrets.sources import fetch, local
from mainspring.base.secrets.types import Secret
from mainspring.base.settings.secrets import kind_of, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: How often the environment and files are looked at.
LOOK_SECONDS = 0.5
#: A reference is not read again out of its turn more often than this, however often its secret is not accepted.
RENEW_SECONDS = 5.0
#: How long somebody who was refused waits for a fresh secret.
WAIT_SECONDS = 2.0

_log = get_logger(__name__)


class _Entry(msgspec.Struct):
    secret: Secret | None = None
    problem: SecretError | None = None
    read_at: float = 0.0
    reading: asyncio.Task[None] | None = None


class Secrets:
    """See the module. Made on the event loop that it serves; every method but `load` and `renew` is memory only.

    A secret that was read once stays in use until another one is read in its place: a source that is away, a file that
    is missing for a moment, a secret that was deleted change nothing but `problem` and the log.

    Args:
        reread_seconds: how often what is kept on the network is read again.
        tell: whether the log hears of rotations and problems; a command shows them itself.
    """

    def __init__(self, reread_seconds: float = 60, *, tell: bool = True) -> None:
        self._tell = tell
        self.reread_seconds = reread_seconds
        self._entries: dict[str, _Entry] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._task: asyncio.Task[None] | None = None

    async def load(self, references: Iterable[str]) -> None:
        """Read what is not known yet, all at once. What cannot be read is told by `problem`; nothing is raised."""
        new = [reference for reference in dict.fromkeys(references) if reference not in self._entries]
        for reference in new:
            self._entries[reference] = _Entry()
        await asyncio.gather(*(self._read(reference) for reference in new))

    def get(self, reference: str) -> Secret | None:
        """The secret as it was read last; None while it never was. Reads at once what takes no network."""
        entry = self._entries.get(reference)
        if entry is None:
            entry = self._entries[reference] = _Entry()
            if local(reference):
                self._take(reference, entry, *_attempt(reference))
        return entry.secret

    def value(self, reference: str) -> str | None:
        """The secret itself, or None while there is none."""
        secret = self.get(reference)
        return None if secret is None else secret.value

    def problem(self, reference: str) -> SecretError | None:
        """Why it could not be read the last time; None where it could."""
        entry = self._entries.get(reference)
        return None if entry is None else entry.problem

    def listen(self, listener: Callable[[str], None]) -> None:
        """Be called with a reference whenever its secret or its problem changed."""
        self._listeners.append(listener)

    def ignore(self, listener: Callable[[str], None]) -> None:
        """Be called no more."""
        with suppress(ValueError):
            self._listeners.remove(listener)

    async def renew(self, reference: str) -> None:
        """Read it now, for it was not accepted: once in some seconds, whoever asks, and never for long."""
        entry = self._entries.get(reference)
        if entry is None:
            return
        if entry.reading is None and monotonic() - entry.read_at < RENEW_SECONDS and not local(reference):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                await asyncio.shield(self._begin(reference))

    async def reread(self) -> None:
        """Read everything now, because somebody asked for it."""
        await asyncio.gather(*(self._begin(name) for name in self._entries if kind_of(name) != "literal"))

    def start(self) -> None:
        """Follow rotations until `close`."""
        self._task = asyncio.create_task(self._follow(), name="secrets")

    async def close(self) -> None:
        """Stop following."""
        tasks = [entry.reading for entry in self._entries.values() if entry.reading is not None]
        if self._task is not None:
            tasks.append(self._task)
            self._task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for reference in self._due():
                self._begin(reference)
            # Files are opened again each time: that costs less than to tell their states apart.
            here = [name for name in self._entries if local(name) and kind_of(name) != "literal"]
            for reference, found in zip(here, await asyncio.to_thread(_attempts, here), strict=True):
                self._take(reference, self._entries[reference], *found)

    def _due(self) -> list[str]:
        """References to the network whose turn it is."""
        now = monotonic()
        return [
            reference
            for reference, entry in self._entries.items()
            if not local(reference) and entry.reading is None and now - entry.read_at >= self._period(entry)
        ]

    def _period(self, entry: _Entry) -> float:
        missing = entry.secret is None and isinstance(entry.problem, SecretUnavailable)
        return min(RENEW_SECONDS, self.reread_seconds) if missing else self.reread_seconds

    def _begin(self, reference: str) -> asyncio.Task[None]:
        entry = self._entries[reference]
        if entry.reading is None:
            entry.reading = asyncio.create_task(self._read(reference))
        return entry.reading

    async def _read(self, reference: str) -> None:
        entry = self._entries[reference]
        try:
            self._take(reference, entry, *await asyncio.to_thread(_attempt, reference))
        finally:
            entry.reading = None

    def _take(
        self, reference: str, entry: _Entry, secret: Secret | None, problem: SecretError | None
    ) -> None:
        entry.read_at = monotonic()
        before, entry.problem = entry.problem, problem
        had, name = entry.secret, redact(reference)
        entry.secret = secret or had
        if self._tell:
            _tell(name, had, secret, before, problem)
        if entry.secret != had or str(problem) != str(before):
            for listener in list(self._listeners):
                listener(reference)


def _tell(
    name: str,
    had: Secret | None,
    secret: Secret | None,
    before: SecretError | None,
    problem: SecretError | None,
) -> None:
    """Say in the log what has changed: once, not each time that it is looked at."""
    if secret is not None and had is not None and secret.value != had.value:
        _log.info("secret_rotated", reference=name)
    if problem is None:
        if before is not None:
            _log.info("secret_readable_again", reference=name)
    elif str(problem) != str(before):
        kept = "the last known one stays in use" if had is not None else "there is none yet"
        _log.warning(
            "secret_not_readable", reference=name, reason=problem.message, remedy=problem.remedy, kept=kept
        )


def _attempts(references: list[str]) -> list[tuple[Secret | None, SecretError | None]]:
    return [_attempt(reference) for reference in references]


def _attempt(reference: str) -> tuple[Secret | None, SecretError | None]:
    """Read a reference; what goes wrong is a result, since the last known secret stays in use."""
    try:
        return fetch(reference), None
    except SecretError as error:
        return None, error
    except MainspringError as error:  # an extra that is not installed
        return None, SecretError(error.message, remedy=error.remedy)
