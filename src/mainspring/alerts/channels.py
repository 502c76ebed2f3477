"""How a message gets out: an HTTP request or a mail, and what the receiver's answer means.

Addresses come from the operator's configuration alone, and no redirect is followed: an answer that leads elsewhere is a
refusal. Nothing that is raised here quotes an address, a secret or what a receiver said.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from mainspring.alerts import messages, signing
from mainspring.alerts.errors import NotTaken
from mainspring.base.clock import now_us
from mainspring.base.errors import ProviderError, ProviderProtocolError, ProviderRefused
from mainspring.providers.transport import HttpTransport

if TYPE_CHECKING:
    from mainspring.alerts.types import Delivery
    from mainspring.base.secrets import Secrets
    from mainspring.base.settings import ChannelSettings

#: A receiver that has not answered by then is away.
SECONDS = 10.0
_CONNECT_SECONDS = 5.0
#: Statuses from 400 on that another attempt may cure. Every other one below 500 is a refusal.
_PASSING = {408, 409, 425, 429}
_SERVER_ERROR = 500


async def send(name: str, channel: ChannelSettings, delivery: Delivery, secrets: Secrets) -> None:
    """Send a message; returns when the receiver has taken it.

    Args:
        name: of the channel.
        channel: its settings.
        delivery: the message.
        secrets: what references in the settings stand for.

    Raises:
        NotTaken: it has not.
    """
    if channel.kind == "email":
        from mainspring.alerts import mail  # noqa: PLC0415 - smtplib, only where mails are sent

        password = (
            None if channel.password is None else await _resolved(channel.password, "password", secrets)
        )
        await mail.send(channel, delivery, password)
        return
    url = await _resolved(channel.url or "", "url", secrets)
    headers = {"content-type": "application/json"}
    if channel.kind == "slack":
        body = messages.slack_body(delivery)
    else:
        body = messages.webhook_body(delivery)
        secret = None if channel.secret is None else await _resolved(channel.secret, "secret", secrets)
        try:
            headers |= signing.headers(delivery.id, now_us() // 1_000_000, body, secret)
        except ValueError as error:
            raise NotTaken(f"the secret cannot be used: {error}") from None
    await _post(name, url, body, headers)


async def problem(channel: ChannelSettings, secrets: Secrets) -> str | None:
    """Why nothing can be sent through a channel as it is configured; None where nothing is seen. Nothing is sent."""
    try:
        for field in ("url", "secret", "password"):
            reference = getattr(channel, field)
            value = None if reference is None else await _resolved(reference, field, secrets)
            if value is None:
                continue
            if field == "url":
                _checked(value)
            elif field == "secret":
                signing.key_of(value)
    except NotTaken as error:
        return error.reason
    except ValueError as error:
        return f"the secret cannot be used: {error}"
    return None


async def _post(name: str, url: str, body: bytes, headers: dict[str, str]) -> None:
    parts = _checked(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    transport = HttpTransport(f"channel {name}", f"{parts.scheme}://{parts.netloc}", {})
    await transport.start()
    try:
        async with asyncio.timeout(SECONDS):
            reply = await transport.post(path, body, headers, _CONNECT_SECONDS)
            reply.close()
    except TimeoutError:
        raise NotTaken(f"no answer within {SECONDS:g} s") from None
    except ProviderRefused as error:
        status = error.upstream_status
        final = status < _SERVER_ERROR and status not in _PASSING
        raise NotTaken(f"status {status}", final=final, retry_after=error.retry_after) from None
    except ProviderProtocolError:
        raise NotTaken("it answers with a redirect, which is not followed", final=True) from None
    except ProviderError:
        raise NotTaken("not reachable") from None
    finally:
        await transport.close()


def _checked(url: str) -> SplitResult:
    """The parts of an address that a request can go to."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or not url.isascii() or " " in url:
            raise NotTaken("its url is not an http or https address")
        _ = parts.port
    except ValueError:
        raise NotTaken("its url has no valid host or port") from None
    return parts


async def _resolved(reference: str, field: str, secrets: Secrets) -> str:
    """What a reference stands for now."""
    await secrets.load([reference])
    value = secrets.value(reference)
    if value is None:
        raise NotTaken(f"the reference in `{field}` leads to nothing")
    return value
