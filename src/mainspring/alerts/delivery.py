"""Sending: every channel for itself, each message again and again until it is taken.

A message is claimed in the database before it is sent, and its end noted after: a process that dies in between leaves a
message that is sent again, under the same id. The pauses between attempts double up to half an hour for a receiver that
is away, and are longer for one that refuses. After a week a message is given up, which shows.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from mainspring.alerts import queries
from mainspring.alerts.channels import send
from mainspring.alerts.errors import NotTaken
from mainspring.base.clock import now_us
from mainspring.base.errors import StoreError
from mainspring.base.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mainspring.alerts.types import Delivery
    from mainspring.base.secrets import Secrets
    from mainspring.base.settings import ChannelSettings
    from mainspring.base.telemetry import Meter
    from mainspring.store import Database

_log = get_logger(__name__)
#: Seconds: the first pause and the longest, for a receiver that is away and for one that refuses.
AWAY, REFUSING = (2.0, 1800.0), (600.0, 21_600.0)
#: Nobody is left alone for longer than this, whatever they ask for.
LONGEST_WAIT = 3600.0
#: How long a claim holds: longer than any attempt.
CLAIM_SECONDS = 75.0
GIVE_UP_SECONDS = 7 * 86_400
_US = 1_000_000


def pause(attempt: int, *, final: bool, retry_after: float | None, luck: float) -> float:
    """Seconds until the next attempt.

    Args:
        attempt: the number of the one that failed, from 1.
        final: whether the receiver refused for good.
        retry_after: seconds that it asked for.
        luck: between 0 and 1; spreads the attempts of many senders by a fifth to either side.
    """
    first, longest = REFUSING if final else AWAY
    seconds = min(longest, first * 2.0 ** min(attempt - 1, 30)) * (0.8 + 0.4 * luck)
    return max(seconds, min(retry_after or 0.0, LONGEST_WAIT))


class Sender:
    """Sends what is due, while this process holds the lease."""

    def __init__(
        self,
        database: Database,
        channels: Mapping[str, ChannelSettings],
        secrets: Secrets,
        meter: Meter,
    ) -> None:
        self.channels = channels
        self._database = database
        self._secrets = secrets
        self._meter = meter
        self._busy: dict[str, asyncio.Task[None]] = {}

    async def look(self) -> None:
        """Start sending what is due. Channels that are busy with earlier messages are left to it.

        Raises:
            StoreError: the database is away.
        """
        found = await self._database.read(lambda c: queries.due(c, now_us()))
        if any(channel not in self.channels for channel in found):
            reason = "the channel is gone from the configuration"
            await self._database.write(lambda c: queries.abandon(c, self.channels, reason))
        for channel, ids in found.items():
            if channel in self.channels and channel not in self._busy:
                task = asyncio.create_task(self._work(channel, ids), name=f"alerts {channel}")
                self._busy[channel] = task
                task.add_done_callback(lambda _, channel=channel: self._busy.pop(channel, None))  # type: ignore[misc] # mypy cannot infer a lambda with a default

    async def close(self) -> None:
        """Break off. What was being sent is sent again by whoever comes next."""
        tasks = list(self._busy.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def attempt(self, delivery: Delivery) -> NotTaken | None:
        """Try to send a message once; returns what went wrong."""
        channel = self.channels[delivery.channel]
        try:
            await send(delivery.channel, channel, delivery, self._secrets)
        except NotTaken as error:
            trouble: NotTaken | None = error
        except Exception as error:  # noqa: BLE001 - a defect of ours must not stop the messages behind this one
            _log.exception("alert_message_broke", channel=delivery.channel, error=type(error).__name__)
            trouble = NotTaken(f"a defect of Mainspring ({type(error).__name__})")
        else:
            trouble = None
        self._meter.count(
            "alert_messages",
            "Attempts to send a message about alerts, by how they ended.",
            channel=delivery.channel,
            outcome="sent" if trouble is None else "refused" if trouble.final else "away",
        )
        return trouble

    async def _work(self, channel: str, ids: list[str]) -> None:
        for delivery_id in ids:
            try:
                await self._one(channel, delivery_id)
            except StoreError as error:
                _log.warning("alert_message_unsettled", channel=channel, reason=str(error))
                return

    async def _one(self, channel: str, delivery_id: str) -> None:
        now = now_us()
        until = now + round(CLAIM_SECONDS * _US)
        delivery = await self._database.write(lambda c: queries.claim(c, delivery_id, now, until))
        if delivery is None:
            return
        trouble = await self.attempt(delivery)
        await self._settle(channel, delivery, trouble)

    async def _settle(self, channel: str, delivery: Delivery, trouble: NotTaken | None) -> None:
        now = now_us()
        if trouble is None:
            await self._database.write(lambda c: queries.taken(c, delivery, now))
            _log.info("alert_message_sent", channel=channel, id=delivery.id, attempts=delivery.attempts)
            return
        luck = random.random()  # noqa: S311 - spreads load, protects nothing
        wait = pause(delivery.attempts, final=trouble.final, retry_after=trouble.retry_after, luck=luck)
        over = now - delivery.created_us > GIVE_UP_SECONDS * _US
        await self._database.write(
            lambda c: queries.settle(
                c,
                delivery.id,
                delivery.attempts,
                state="failed" if over else "pending",
                due_us=now + round(wait * _US),
                refused=trouble.final,
                error=trouble.reason,
            )
        )
        _log.warning(
            "alert_message_given_up" if over else "alert_message_not_taken",
            channel=channel,
            id=delivery.id,
            attempts=delivery.attempts,
            reason=trouble.reason,
            next_s=None if over else round(wait, 1),
        )
