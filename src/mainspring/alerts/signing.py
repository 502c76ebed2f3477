"""Signatures of webhooks after the Standard Webhooks specification, version 1.0.0.

Signed is `ID.TIMESTAMP.BODY` with HMAC-SHA256. The secret is `whsec_` and base64, as the specification has it; any other
text is taken as its bytes.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode

_PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """The bytes that are signed with.

    Raises:
        ValueError: it begins with `whsec_`, but what follows is no base64, or nothing: anybody could sign with that.
    """
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        key = b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:  # no base64, or not even ASCII
        raise ValueError("what follows whsec_ is not base64") from None
    if not key:
        raise ValueError("nothing follows whsec_")
    return key


def headers(message_id: str, timestamp: int, body: bytes, secret: str | None) -> dict[str, str]:
    """The headers of one attempt; without a secret there is no signature.

    Args:
        message_id: the same for every attempt of one message.
        timestamp: of this attempt, in Unix seconds.
        body: as it is sent.
        secret: of the channel.
    """
    given = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if secret is not None:
        signed = f"{message_id}.{timestamp}.".encode() + body
        given["webhook-signature"] = f"v1,{b64encode(hmac.digest(key_of(secret), signed, 'sha256')).decode()}"
    return given
