"""`mainspring chat`: talk to a running server from a terminal."""

from __future__ import annotations

import http.client
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from mainspring.base.errors import AuthenticationFailed, InvalidRequest, MainspringError, NotFound
from mainspring.cli.options import Config  # noqa: TC001 - Typer reads it
from mainspring.cli.session import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mainspring.base.settings import Settings

_OK = 200
#: How long the server may be silent; it sends a keepalive far more often.
_SILENCE_SECONDS = 120


def chat(
    prompt: Annotated[
        str | None,
        typer.Argument(help="What to say; without it, a conversation begins (or standard input is read)."),
    ] = None,
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="A route, or provider/model; by default the route `default`, else the first model.",
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", help="Instructions that stand before the conversation.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="MAINSPRING_URL",
            help="The server; by default the one that the configuration describes.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            envvar="MAINSPRING_KEY",
            help="The key to ask with; by default the admin key in .mainspring/admin.key.",
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Talk to a running server, with the answer streaming in.

    In a conversation, an empty line or Ctrl-D ends it.
    """
    settings = read_settings(config)
    client = _Client(url or _url_of(settings), key or _key_of(settings))
    model = model or client.default_model()
    messages = [{"role": "system", "content": system}] if system else []
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
        if not prompt.strip():
            raise InvalidRequest("There is nothing to say.", remedy="Give a PROMPT, or pipe one in.")
    if prompt is not None:
        _ask(client, model, [*messages, {"role": "user", "content": prompt}])
        return
    typer.echo(f"{model} at {client.url}. An empty line or Ctrl-D ends the conversation.")
    while (line := _read_line()) is not None:
        messages.append({"role": "user", "content": line})
        try:
            messages.append({"role": "assistant", "content": _ask(client, model, messages)})
        except MainspringError as error:
            typer.echo(f"Error: {error}", err=True)
            messages.pop()  # the server may answer the next one


def _read_line() -> str | None:
    try:
        return input("> ").strip() or None
    except EOFError:
        typer.echo()
        return None


def _ask(client: _Client, model: str, messages: list[dict[str, str]]) -> str:
    """Print an answer as it comes in, and return it."""
    pieces: list[str] = []
    try:
        for piece in client.stream(model, messages):
            pieces.append(piece)
            sys.stdout.write(piece)
            sys.stdout.flush()
    finally:
        if pieces:
            sys.stdout.write("\n")
    return "".join(pieces)


def _url_of(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.server.host, settings.server.host)  # noqa: S104 - compared
    return f"http://{host}:{settings.server.port}"


def _key_of(settings: Settings) -> str:
    from mainspring.keys import ADMIN_KEY_FILE  # noqa: PLC0415 - with the room, only when it is asked

    if settings.admin_key:
        return settings.admin_key
    try:
        return ADMIN_KEY_FILE.read_text("utf-8").strip()
    except OSError:
        raise AuthenticationFailed(
            f"There is no key: {ADMIN_KEY_FILE} is not here.",
            remedy="Set MAINSPRING_KEY, give --key, or run this where the server runs.",
        ) from None


class _Client:
    """As much of an OpenAI client as a conversation needs."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidRequest(
                f"{url!r} is not the address of a server.", remedy="Write http://host:port.", param="url"
            )
        self.url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._parts = parts
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def default_model(self) -> str:
        """The route `default`, if there is one, else the first model that the server lists."""
        response = self._request("GET", "/v1/models")
        names = [model["id"] for model in json.loads(response.read()).get("data", [])]
        if "default" in names:
            return "default"
        chats = [name for name in names if not name.endswith("/embed")]
        if not chats:
            raise NotFound(
                "The server has no model.",
                remedy="Set OPENAI_API_KEY or ANTHROPIC_API_KEY for it, or run `mainspring local pull small`.",
            )
        return str(chats[0])

    def stream(self, model: str, messages: list[dict[str, str]]) -> Iterator[str]:
        """The pieces of an answer.

        Raises:
            MainspringError: it was refused, or broke off.
        """
        response = self._request(
            "POST", "/v1/chat/completions", {"model": model, "messages": messages, "stream": True}
        )
        done = False
        for event in _events(response):
            if event == "[DONE]":
                done = True
                break
            document = json.loads(event)
            if "error" in document:
                raise MainspringError(str(document["error"].get("message", document["error"])))
            for choice in document.get("choices", []):
                if text := (choice.get("delta") or {}).get("content"):
                    yield text
        if not done:
            raise MainspringError(
                "The answer broke off.", remedy="Ask again; `mainspring ledger tail` shows what happened."
            )

    def _request(self, method: str, path: str, body: Any = None) -> http.client.HTTPResponse:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        assert self._parts.hostname is not None, "checked when made"
        connection = kind(self._parts.hostname, self._parts.port, timeout=_SILENCE_SECONDS)
        try:
            payload = None if body is None else json.dumps(body).encode()
            connection.request(method, self._prefix + path, payload, self._headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise MainspringError(
                f"No server answers at {self.url}: {getattr(error, 'strerror', None) or error}.",
                remedy="Start one with `mainspring serve`, or name it with --url.",
            ) from None
        if response.status != _OK:
            raise _refusal(response.status, response.read())
        return response


def _events(response: http.client.HTTPResponse) -> Iterator[str]:
    """The data of each server-sent event."""
    try:
        for line in response:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return  # the caller sees that the end is missing


def _refusal(status: int, body: bytes) -> MainspringError:
    try:
        detail = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        detail = f"The server answered with status {status}."
    return MainspringError(str(detail))
