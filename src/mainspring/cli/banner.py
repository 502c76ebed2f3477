"""What a server says when it is ready: where it is, how to get in, and which models answer."""

from __future__ import annotations

import http.client
import json
import sys
from typing import TYPE_CHECKING

from mainspring.base.logging import get_logger
from mainspring.keys import ADMIN_KEY_FILE

if TYPE_CHECKING:
    import socket

    from mainspring.base.settings import Settings

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
_MOST_MODELS = 6
_log = get_logger(__name__)


class Banner:
    """The start message. Made before the server starts, so that it can tell whether the admin key is new."""

    def __init__(self, settings: Settings, listener: socket.socket, workers: int) -> None:
        host, port = listener.getsockname()[:2]
        self._host = _ANYWHERE.get(host, host)
        self._port = port
        self._given_key = settings.admin_key
        self._key_is_new = not ADMIN_KEY_FILE.exists()
        self._workers = workers

    @property
    def url(self) -> str:
        """The root of the server."""
        return (
            f"http://[{self._host}]:{self._port}"
            if ":" in self._host
            else f"http://{self._host}:{self._port}"
        )

    def show(self) -> None:
        """Print it, once the server answers. Nothing here may stop a server that runs."""
        key = self._given_key or _kept_key()
        workers = f" with {self._workers} workers" if self._workers > 1 else ""
        lines = [
            "",
            f"  Mainspring answers at {self.url}{workers}",
            "",
            f"  OpenAI clients     base_url={self.url}/v1",
            f"  Anthropic clients  base_url={self.url}",
            f"  Console            {self.url}/console",
            f"  API reference      {self.url}/docs",
        ]
        if self._given_key:
            lines.append("  Admin key          as set in MAINSPRING_ADMIN_KEY")
        elif key is None:
            lines.append("  Admin key          as created before; `mainspring keys list` shows who has one")
        elif self._key_is_new:
            lines.append(f"  Admin key          {key}")
            lines.append(f"                     (shown this once, kept in {ADMIN_KEY_FILE})")
        else:
            lines.append(f"  Admin key          in {ADMIN_KEY_FILE}")
        lines += [f"  Models             {self._models(key)}", ""]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

    def _models(self, key: str | None) -> str:
        """The models that the server lists, in one line."""
        if key is None:
            return "see /v1/models"
        try:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=5)
            connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {key}"})
            names = [model["id"] for model in json.loads(connection.getresponse().read())["data"]]
            connection.close()
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
            _log.warning("the models could not be listed", why=str(error))
            return "see /v1/models"
        if not names:
            return "none yet: set OPENAI_API_KEY or ANTHROPIC_API_KEY, or run `mainspring local pull small`"
        more = f" and {len(names) - _MOST_MODELS} more" if len(names) > _MOST_MODELS else ""
        return ", ".join(names[:_MOST_MODELS]) + more


def _kept_key() -> str | None:
    try:
        return ADMIN_KEY_FILE.read_text("utf-8").strip() or None
    except OSError:
        return None
