"""Mails: what they look like, and how they get to a mail server.

The conversation is smtplib's, on a thread.
"""

from __future__ import annotations

import asyncio
import html
import smtplib
import ssl
import threading
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate
from typing import TYPE_CHECKING

from mainspring.alerts.errors import NotTaken
from mainspring.alerts.messages import WORDS, facts, headline, one_line, read
from mainspring.base.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainspring.alerts.types import Delivery, Message
    from mainspring.base.settings import ChannelSettings

_log = get_logger(__name__)
#: For one step of the conversation, and for all of it.
_STEP_SECONDS, _WHOLE_SECONDS = 10.0, 60.0
_PORTS = {"starttls": 587, "tls": 465, "plain": 25}
#: From here on a mail server's answer is final.
_FINAL = 500
_SUBJECT_CHARS = 150


async def send(channel: ChannelSettings, delivery: Delivery, password: str | None) -> None:
    """Send a message as a mail; returns when the server has accepted it.

    Raises:
        NotTaken: it has not.
    """
    mail = email_of(delivery, channel.sender or "", channel.to)

    def work() -> None:
        server = _connected(channel)
        try:
            if channel.username is not None and password is not None:
                server.login(channel.username, password)
            _tell_of(server.send_message(mail, channel.sender, channel.to), delivery)
            with suppress(smtplib.SMTPException, OSError):  # it is accepted; how they part does not matter
                server.quit()
        finally:
            server.close()

    try:
        async with asyncio.timeout(_WHOLE_SECONDS):
            await _on_thread(work)
    except TimeoutError:
        raise NotTaken("the mail server does not answer") from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        raise NotTaken(f"no recipient is accepted (status {codes[0]})", final=min(codes) >= _FINAL) from None
    except smtplib.SMTPResponseException as error:
        raise NotTaken(f"mail status {error.smtp_code}", final=error.smtp_code >= _FINAL) from None
    except smtplib.SMTPNotSupportedError as error:
        raise NotTaken(
            f"the mail server cannot do what is asked of it ({type(error).__name__})", final=True
        ) from None
    except UnicodeEncodeError:
        raise NotTaken(
            "the user name or the password has characters that SMTP cannot carry", final=True
        ) from None
    except ssl.SSLCertVerificationError:
        raise NotTaken("the mail server's certificate is not trusted") from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotTaken(f"the mail server is not reachable ({type(error).__name__})") from None


def _tell_of(refused: dict[str, tuple[int, bytes]], delivery: Delivery) -> None:
    """Say that somebody does not get the message although others do: it is not sent again."""
    if refused:
        codes = sorted({code for code, _ in refused.values()})
        _log.warning("alert_mail_not_for_all", id=delivery.id, refused=len(refused), codes=codes)


async def _on_thread(work: Callable[[], None]) -> None:
    """Run it on a thread of its own, which does not keep the process from ending when nobody waits any more."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as caught:  # noqa: BLE001 - raised again where it is waited for
            error = caught
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=run, name="alerts-mail", daemon=True).start()
    await done


def _connected(channel: ChannelSettings) -> smtplib.SMTP:
    """A connection to the mail server, protected as the settings say."""
    host, port = channel.host or "", channel.port or _PORTS[channel.security]
    if channel.security == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=_STEP_SECONDS, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port, timeout=_STEP_SECONDS)
    if channel.security == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
            server.ehlo()
        except BaseException:  # without protection nothing is said on it
            server.close()
            raise
    return server


def email_of(delivery: Delivery, sender: str, to: list[str]) -> EmailMessage:
    """A mail in plain text and HTML. Its Message-ID is the same at every attempt."""
    message = read(delivery)
    title = headline(message)
    mail = EmailMessage()
    mail["Subject"] = one_line(f"[Mainspring] {title}")[:_SUBJECT_CHARS]
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = formatdate(delivery.created_us / 1_000_000)
    mail["Message-ID"] = f"<{delivery.id}@{sender.rpartition('@')[2]}>"
    mail["X-Mainspring-Id"] = delivery.id
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(_plain(message, title))
    mail.add_alternative(_html(message, title), subtype="html")
    return mail


def _plain(message: Message, title: str) -> str:
    lines = [title, ""]
    for note in message.notes:
        lines += [f"{WORDS[note.event]}: {note.summary}", f"  {facts(note)}", f"  id {note.id}", ""]
    if message.more:
        lines.append(f"and {message.more} more: `mainspring alerts list`")
    return "\n".join(lines) + "\n"


def _html(message: Message, title: str) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(WORDS[note.event])}</td><td><strong>{html.escape(note.summary)}</strong><br>"
        f"{html.escape(facts(note))}<br><small>{note.id}</small></td></tr>"
        for note in message.notes
    )
    more = f"<p>and {message.more} more</p>" if message.more else ""
    return (
        f'<!doctype html><html lang="en"><body><h1 style="font-size:1.2em">{html.escape(title)}</h1>'
        f'<table cellpadding="6">{rows}</table>{more}</body></html>'
    )
