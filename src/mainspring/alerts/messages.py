"""Messages: how alerts are gathered into them, and how each kind of channel wants to see them.

What callers made up (a feature, a tenant) can be in a summary. It is text everywhere: escaped where the receiver would
read marks, and on one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.alerts.rules import show
from mainspring.alerts.types import Message, Note
from mainspring.base.clock import iso

if TYPE_CHECKING:
    from mainspring.alerts.types import Alert, Delivery, Event

#: A message lists so many alerts; a receiver who wants them all asks the API.
MOST_NOTES = 50
#: Slack refuses messages with more or longer blocks.
_SLACK_NOTES, _SLACK_CHARS = 20, 2900
WORDS: dict[Event, str] = {
    "opened": "Alert",
    "raised": "Worse",
    "resolved": "Resolved",
    "reminder": "Still open",
}
_MARKS = {"critical": "\U0001f534", "warning": "\U0001f7e0", "info": "\U0001f535"}
_RESOLVED_MARK = "✅"
_RANK = {"critical": 0, "warning": 1, "info": 2}
_decode = msgspec.json.Decoder(Message).decode


def note_of(alert: Alert, event: Event) -> Note:
    """An alert as it is told now."""
    return Note(
        event=event,
        id=alert.id,
        rule=alert.rule,
        subject=alert.subject,
        tenant=alert.tenant,
        severity=alert.severity,
        metric=alert.metric,
        summary=one_line(alert.summary),
        value=show(alert.metric, alert.value),
        threshold=show(alert.metric, alert.threshold),
        opened_us=alert.opened_us,
        resolved_us=alert.resolved_us,
        resolution=alert.resolution,
    )


def gathered(body: str | None, note: Note) -> str:
    """A message with one more note, as JSON. Beyond so many it only counts."""
    message = Message() if body is None else _decode(body)
    if len(message.notes) < MOST_NOTES:
        message.notes.append(note)
    else:
        message.more += 1
    return encoded(message)


def encoded(message: Message) -> str:
    """A message as JSON."""
    return msgspec.json.encode(message).decode()


def read(delivery: Delivery) -> Message:
    """The message of a delivery, the worst first."""
    message = _decode(delivery.body)
    message.notes.sort(key=lambda note: (note.event == "resolved", _RANK[note.severity]))
    return message


def headline(message: Message) -> str:
    """A message in one line."""
    if message.kind == "test":
        return "Test message: this channel works"
    if len(message.notes) == 1 and not message.more:
        note = message.notes[0]
        return f"{WORDS[note.event]}: {note.summary}"
    resolved = sum(note.event == "resolved" for note in message.notes)
    bad = len(message.notes) - resolved + message.more
    parts = [f"{bad} alerts" if bad != 1 else "1 alert"] if bad else []
    parts += [f"{resolved} resolved"] if resolved else []
    return ", ".join(parts)


def webhook_body(delivery: Delivery) -> bytes:
    """The JSON of a webhook: the same bytes at every attempt."""
    message = read(delivery)
    document: dict[str, Any] = {
        "type": "mainspring.test" if message.kind == "test" else "mainspring.alerts",
        "id": delivery.id,
        "timestamp": iso(delivery.created_us),
        "data": {
            "text": headline(message),
            "alerts": [_webhook_note(note) for note in message.notes],
            "more": message.more,
        },
    }
    return msgspec.json.encode(document)


def slack_body(delivery: Delivery) -> bytes:
    """The JSON of an incoming webhook of Slack: a text for notifications, blocks for the channel."""
    message = read(delivery)
    title = headline(message)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": f"Mainspring: {title}"[:150]}}
    ]
    blocks += [_slack_note(note) for note in message.notes[:_SLACK_NOTES]]
    left = len(message.notes) - _SLACK_NOTES + message.more
    ends = [f"and {left} more"] if left > 0 else []
    ends.append(f"Message {delivery.id}")
    context = {"type": "context", "elements": [{"type": "mrkdwn", "text": " · ".join(ends)}]}
    return msgspec.json.encode({"text": _slack_text(f"Mainspring: {title}"), "blocks": [*blocks, context]})


def _webhook_note(note: Note) -> dict[str, Any]:
    document = msgspec.to_builtins(note)
    document["opened"] = iso(document.pop("opened_us"))
    resolved_us = document.pop("resolved_us")
    document["resolved"] = None if resolved_us is None else iso(resolved_us)
    assert isinstance(document, dict), "a struct is an object"
    return document


def _slack_note(note: Note) -> dict[str, Any]:
    mark = _RESOLVED_MARK if note.event == "resolved" else _MARKS[note.severity]
    lines = [f"{mark} *{WORDS[note.event]}*: {_slack_text(note.summary)}"]
    lines.append(_slack_text(facts(note)))
    return {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(lines)[:_SLACK_CHARS]}}


def _slack_text(text: str) -> str:
    """Slack reads three characters as marks."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def facts(note: Note) -> str:
    """Where an alert comes from, on one line."""
    parts = [f"rule {note.rule}", note.severity, f"since {iso(note.opened_us)[:19]}Z"]
    if note.tenant:
        parts.append(f"tenant {note.tenant}")
    if note.resolution:
        parts.append(note.resolution)
    return one_line(", ".join(parts))


def one_line(text: str) -> str:
    """Text without line breaks and other control characters."""
    return "".join(character if character.isprintable() else " " for character in text)
