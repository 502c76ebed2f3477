"""HashiCorp Vault (and OpenBao), KV version 2: one small HTTP call.

`VAULT_ADDR`, `VAULT_TOKEN` (or `~/.vault-token`), `VAULT_NAMESPACE` and `VAULT_CACERT` are as Vault's own command line
reads them. A token that can be renewed is, whenever a third of its time is over. How one is got (AppRole, Kubernetes
and the others) is the business of Vault's agent, which keeps the file fresh.
"""

from __future__ import annotations

import http.client
import math
import os
import ssl
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from mainspring.base.clock import monotonic
from mainspring.base.errors import SecretError, SecretUnavailable
from mainspring.base.secrets.types import Secret

#: Seconds for a call; whoever waits for a rotated key waits for this.
_SECONDS = 5
_FORBIDDEN, _NOT_FOUND, _SERVER_ERROR = 403, 404, 500
#: Not yet consistent; a standby, in three kinds. All of them pass.
_PASSING = {412, 429, 472, 473}
_LARGEST = 1 << 20


class _Metadata(msgspec.Struct):
    created_time: str = ""


class _Version(msgspec.Struct):
    data: dict[str, object] = {}
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _Answer(msgspec.Struct):
    data: _Version


class _Auth(msgspec.Struct):
    lease_duration: float = 0
    renewable: bool = False


class _Renewed(msgspec.Struct):
    auth: _Auth


#: By token, when it is to be renewed; never for one that cannot be.
_renew_at: dict[str, float] = {}
_RENEW_SHARE = 1 / 3


def read_vault(name: str) -> Secret:
    """Read `PATH#FIELD`: `secret/openai#api_key`, or with the `data` of the HTTP API, `secret/data/openai#api_key`.

    Raises:
        SecretError: there is no such secret or field, the token may not read it, or Vault is not configured.
        SecretUnavailable: Vault does not answer, or is sealed.
    """
    path, _, field = name.rpartition("#")
    shown = f"vault:{name}"
    body = _get(_request(api_path(path)), shown)
    _renew()
    try:
        version = msgspec.json.decode(body, type=_Answer).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SecretError(
            f"{shown}: what Vault holds there is no secret of its KV engine, version 2.",
            remedy="Check the path; its first part is the mount.",
        ) from None
    value = version.data.get(field)
    if not isinstance(value, str) or not value.strip():
        raise SecretError(
            f"{shown}: the secret is there, but has no field {field!r} with a text.",
            remedy="Name one of its fields behind the #.",
        )
    return Secret(value.strip(), _microseconds(version.metadata.created_time))


def api_path(path: str) -> str:
    """The path in the HTTP API: `data` stands behind the mount, where it may be left out."""
    parts = path.strip("/").split("/")
    if "data" not in parts[1:-1]:
        parts.insert(1, "data")
    return "/".join(parts)


def _renew() -> None:
    """Renew the token if it is time to. One that may not or cannot be renewed works until it ends, and is left alone."""
    token = _token()
    if monotonic() < _renew_at.get(token, 0.0):
        return
    _renew_at[token] = monotonic() + _SECONDS  # meanwhile nobody else does
    try:
        lease = msgspec.json.decode(
            _get(_request("auth/token/renew-self", b"{}"), "VAULT_TOKEN"), type=_Renewed
        ).auth
    except SecretUnavailable:
        return
    except (SecretError, msgspec.DecodeError, UnicodeDecodeError):
        lease = _Auth()
    seconds = lease.lease_duration * _RENEW_SHARE if lease.renewable and lease.lease_duration else math.inf
    _renew_at[token] = monotonic() + seconds


def _request(path: str, body: bytes | None = None) -> urllib.request.Request:
    address = os.environ.get("VAULT_ADDR", "").rstrip("/")
    if not address:
        raise SecretError(
            "A secret is kept in Vault, but VAULT_ADDR is not set.",
            remedy="Set VAULT_ADDR to Vault's address, such as https://vault.example.com:8200.",
        )
    if urlsplit(address).scheme not in {"http", "https"}:
        raise SecretError("VAULT_ADDR is no http or https address.", remedy="Write it as https://host:8200.")
    headers = {"x-vault-token": _token(), "x-vault-request": "true", "accept": "application/json"}
    if namespace := os.environ.get("VAULT_NAMESPACE"):
        headers["x-vault-namespace"] = namespace
    if body is not None:
        headers["content-type"] = "application/json"
    return urllib.request.Request(f"{address}/v1/{quote(path)}", body, headers)  # noqa: S310 - seen above


def _token() -> str:
    token = os.environ.get("VAULT_TOKEN", "").strip()
    if not token:
        try:
            token = (Path.home() / ".vault-token").read_text("utf-8").strip()
        except (OSError, RuntimeError, UnicodeDecodeError):
            token = ""
    if not token or not (token.isascii() and token.isprintable()):
        raise SecretError(
            "A secret is kept in Vault, but there is no token to read it with.",
            remedy="Set VAULT_TOKEN, or let Vault's agent keep ~/.vault-token.",
        )
    return token


def _get(request: urllib.request.Request, shown: str) -> bytes:
    certificates = os.environ.get("VAULT_CACERT") or None
    try:
        context = ssl.create_default_context(cafile=certificates) if certificates else None
        with urllib.request.urlopen(request, timeout=_SECONDS, context=context) as answer:  # noqa: S310 - seen in _request
            body: bytes = answer.read(_LARGEST)
            return body
    except urllib.error.HTTPError as error:
        with error:
            deleted = error.code == _NOT_FOUND and b'"deletion_time"' in error.read(_LARGEST)
        if deleted:
            raise SecretError(
                f"{shown}: its newest version in Vault was deleted.",
                remedy="Undelete it, or put the key there again.",
            ) from None
        raise _refusal(error.code, shown) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise SecretUnavailable(
            f"{shown}: Vault does not answer: {reason}.", remedy="Check VAULT_ADDR and Vault's status."
        ) from None


def _refusal(status: int, shown: str) -> SecretError:
    if status == _FORBIDDEN:
        return SecretError(
            f"{shown}: Vault does not let this token read it.",
            remedy="Renew VAULT_TOKEN, or give its policy `read` on this path.",
        )
    if status == _NOT_FOUND:
        return SecretError(
            f"{shown}: Vault has no such secret.", remedy="Check the path; its first part is the mount."
        )
    if status >= _SERVER_ERROR or status in _PASSING:
        return SecretUnavailable(
            f"{shown}: Vault answers with status {status}.", remedy="See whether it is sealed."
        )
    return SecretError(f"{shown}: Vault answers with status {status}.", remedy="Check the path.")


def _microseconds(text: str) -> int | None:
    """An instant as Vault writes it (RFC 3339 with nanoseconds) in Unix microseconds."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000)
    except ValueError:
        return None
