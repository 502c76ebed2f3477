"""Mails through real mail servers, signatures that the specification's own check accepts, and what Slack is sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from tests.support.receivers import MailReceiver, WebhookReceiver, self_signed

from mainspring.alerts import Delivery, messages, signing
from mainspring.alerts.channels import problem, send
from mainspring.alerts.errors import NotTaken
from mainspring.alerts.types import Message, Note
from mainspring.base.secrets import Secrets
from mainspring.base.settings import ChannelSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NASTY = "error rate 50% for feature=<!channel> & <b>\r\nBcc: all@example.com"


def note(**more: Any) -> Note:
    given: dict[str, Any] = {
        "event": "opened",
        "id": "0199",
        "rule": "errors",
        "subject": "",
        "tenant": None,
        "severity": "critical",
        "metric": "error_rate",
        "summary": "Error rate 50%",
        "value": "50%",
        "threshold": "5%",
        "opened_us": 1_700_000_000_000_000,
        "resolved_us": None,
        "resolution": None,
    }
    return Note(**{**given, **more})


def delivery(*notes: Note, more: int = 0) -> Delivery:
    body = messages.encoded(Message(notes=list(notes), more=more))
    return Delivery(
        id="0199aaaa",
        channel="ops",
        state="pending",
        body=body,
        alerts=len(notes),
        created_us=1_700_000_000_000_000,
        due_us=0,
    )


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """A server's context; this process trusts its certificate."""
    cert, key = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def mail_channel(receiver: MailReceiver, **more: Any) -> ChannelSettings:
    given = {"kind": "email", "host": "127.0.0.1", "port": receiver.port, "security": "plain"}
    given |= {"sender": "mainspring@example.com", "to": ["ops@example.com", "cto@example.com"]}
    return ChannelSettings.model_validate({**given, **more})


async def test_a_recipient_that_is_refused_is_told_in_the_log_and_the_others_get_it() -> None:
    with MailReceiver() as server, capture_logs() as logs:
        server.unknown.add("cto@example.com")
        await send("ops", mail_channel(server), delivery(note()), Secrets())
        assert server.recipients == [["ops@example.com"]]
    (line,) = logs
    assert (line["event"], line["refused"], line["codes"]) == ("alert_mail_not_for_all", 1, [550])
    assert "example.com" not in str(line)


async def test_plain_mail_has_two_forms_and_an_id() -> None:
    with MailReceiver() as server:
        raised = note(event="raised", summary="Spend $9")
        await send("ops", mail_channel(server), delivery(note(), raised, more=3), Secrets())
        (mail,) = server.mails
        assert server.recipients == [["ops@example.com", "cto@example.com"]]
        assert mail["Subject"] == "[Mainspring] 5 alerts"
        assert mail["Message-ID"] == "<0199aaaa@example.com>"
        assert mail["X-Mainspring-Id"] == "0199aaaa"
        plain, rich = mail.get_body(("plain",)), mail.get_body(("html",))
        assert plain is not None
        assert rich is not None
        assert "Alert: Error rate 50%" in plain.get_content()
        assert "and 3 more" in plain.get_content()
        assert "<strong>Spend $9</strong>" in rich.get_content()


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # it is TLS from the first byte
@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_mail_over_tls_with_a_password(certificate: ssl.SSLContext, security: str) -> None:
    user = ("mainspring", "s3cret pass")
    with MailReceiver(certificate, starttls=security == "starttls", user=user) as server:
        channel = mail_channel(server, security=security, username="mainspring", password="s3cret pass")
        await send("ops", channel, delivery(note()), Secrets())
        assert len(server.mails) == 1
        wrong = mail_channel(server, security=security, username="mainspring", password="wrong")
        with pytest.raises(NotTaken, match="mail status 535") as refused:
            await send("ops", wrong, delivery(note()), Secrets())
        assert refused.value.final
        foreign = mail_channel(server, security=security, username="mainspring", password="pässword")
        with pytest.raises(NotTaken, match="characters that SMTP cannot carry"):
            await send("ops", foreign, delivery(note()), Secrets())


async def test_mail_is_not_sent_where_the_certificate_is_not_trusted(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path))
    with MailReceiver(context) as server:
        with pytest.raises(NotTaken, match="certificate is not trusted"):
            await send("ops", mail_channel(server, security="tls"), delivery(note()), Secrets())
        assert server.mails == []


async def test_mail_is_not_sent_in_the_clear_where_tls_was_asked_for() -> None:
    with MailReceiver() as server:
        with pytest.raises(NotTaken, match="cannot do what is asked") as refused:
            await send("ops", mail_channel(server, security="starttls"), delivery(note()), Secrets())
        assert refused.value.final
        assert server.mails == []


async def test_mail_server_that_says_later_or_never_or_nothing() -> None:
    with MailReceiver() as server:
        server.script.extend(["451 later", "554 never"])
        for final in (False, True):
            with pytest.raises(NotTaken) as refused:
                await send("ops", mail_channel(server), delivery(note()), Secrets())
            assert refused.value.final is final
        channel = mail_channel(server)
    with pytest.raises(NotTaken, match="not reachable"):
        await send("ops", channel, delivery(note()), Secrets())


async def test_what_callers_made_up_stays_text() -> None:
    with MailReceiver() as server:
        made = messages.note_of(_alert(NASTY), "opened")
        await send("ops", mail_channel(server), delivery(made), Secrets())
        (mail,) = server.mails
        assert mail["Bcc"] is None
        rich = mail.get_body(("html",))
        assert rich is not None
        assert "<b>" not in rich.get_content()
        slack = json.loads(messages.slack_body(delivery(made)))
        assert "<!channel>" not in json.dumps(slack["blocks"][1:])
        assert "&lt;!channel&gt; &amp;" in slack["text"]


def _alert(summary: str) -> Any:
    from mainspring.alerts import Alert  # noqa: PLC0415 - for this test only

    return Alert(
        id="0199",
        rule="r",
        subject="",
        window_us=0,
        tenant=None,
        metric="error_rate",
        severity="info",
        summary=summary,
        threshold=1,
        value=2,
        peak=2,
        opened_us=0,
    )


async def test_slack_shape() -> None:
    with WebhookReceiver() as receiver:
        notes = [note(id=str(n), event="resolved" if n == 0 else "opened") for n in range(60)]
        channel = ChannelSettings.model_validate({"kind": "slack", "url": receiver.url})
        await send("slack", channel, delivery(*notes[:50], more=10), Secrets())
        document = receiver.hits[0].document
        assert document["text"] == "Mainspring: 59 alerts, 1 resolved"
        assert [block["type"] for block in document["blocks"][:2]] == ["header", "section"]
        assert len(document["blocks"]) == 22
        assert document["blocks"][-1]["elements"][0]["text"] == "and 40 more · Message 0199aaaa"


def test_signature_is_that_of_the_specification() -> None:
    body = b'{"test": 2432232314}'
    given = signing.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, SECRET)
    # The example of the specification's reference libraries.
    assert given["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    other = signing.headers("id", 1, body, "just text")["webhook-signature"]
    expected = hmac.new(b"just text", b"id.1." + body, hashlib.sha256).digest()
    assert other == f"v1,{base64.b64encode(expected).decode()}"


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("whsec_not base64", "what follows whsec_ is not base64"),
        ("whsec_é", "what follows whsec_ is not base64"),
        ("whsec_", "nothing follows whsec_"),
    ],
)
async def test_a_secret_that_protects_nothing_is_told(secret: str, reason: str) -> None:
    with WebhookReceiver() as receiver:
        channel = ChannelSettings.model_validate({"kind": "webhook", "url": receiver.url, "secret": secret})
        with pytest.raises(NotTaken, match=f"the secret cannot be used: {reason}"):
            await send("ops", channel, delivery(note()), Secrets())
        assert reason in str(await problem(channel, Secrets()))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com", "not an http or https address"),
        ("http://", "not an http or https address"),
        ("http://127.0.0.1:99999/", "no valid host or port"),
    ],
)
async def test_addresses_that_are_none(url: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", url)
    channel = ChannelSettings.model_validate({"kind": "webhook", "url": "env:HOOK"})
    with pytest.raises(NotTaken, match=reason):
        await send("ops", channel, delivery(note()), Secrets())
    assert reason in str(await problem(channel, Secrets()))
