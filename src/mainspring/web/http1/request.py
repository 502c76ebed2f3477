"""One request as it comes in: its head, and its body as far as it has arrived."""

from __future__ import annotations

from urllib.parse import unquote

import httptools

from mainspring.base.errors import PayloadTooLarge

#: What begins with this is asked on a protocol surface.
_SURFACES = b"/v1/"


class Request:
    """See the module. Written by the connection, read by whoever answers.

    Args:
        method: as it stood on the request line.
        target: likewise.
        headers: in their order, names in lower case.
        http10: the caller speaks HTTP/1.0, and takes neither chunks nor interim answers.
        keep_alive: the connection may be used again after the answer.

    Raises:
        httptools.HttpParserInvalidURLError: the target is none.
    """

    __slots__ = (
        "complete",
        "fields",
        "headers",
        "http10",
        "keep_alive",
        "method",
        "parts",
        "path",
        "query",
        "raw_path",
        "size",
        "surface",
        "too_large",
        "waits",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        *,
        http10: bool = False,
        keep_alive: bool = True,
    ) -> None:
        self.method = method
        self.headers = headers
        #: The headers by name; what is said in several lines stands together, as in a list.
        self.fields = dict(headers)
        if len(self.fields) != len(headers):
            self.fields = _joined(headers)
        self.http10 = http10
        self.keep_alive = keep_alive
        if target[:1] == b"/":
            self.raw_path, _, self.query = target.partition(b"?")
        else:  # absolute, as proxies are asked; or `*`
            parsed = httptools.parse_url(target)
            self.raw_path, self.query = parsed.path or b"/", parsed.query or b""
        self.path = path = self.raw_path.decode("latin-1")
        if "%" in path:
            self.path = unquote(path)
        #: It asks one of the protocol surfaces: its body is read whole before anything is done with it.
        self.surface = self.raw_path.startswith(_SURFACES)
        self.parts: list[bytes] = []
        #: Bytes in `parts`.
        self.size = 0
        #: All of the body is here.
        self.complete = False
        #: The body is larger than is taken; what was read of it is gone.
        self.too_large = False
        #: The caller sends the body once it is told to go on.
        self.waits = not http10 and self.fields.get(b"expect", b"").lower() == b"100-continue"

    def take(self) -> bytes:
        """What has arrived of the body and was not taken yet."""
        parts, self.parts, self.size = self.parts, [], 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def body(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            PayloadTooLarge: it has more than `limit` bytes.
        """
        if self.too_large or self.size > limit:
            raise PayloadTooLarge(
                f"The body is larger than {limit >> 20} MB.",
                remedy="Send less, or raise server.max_body_mb.",
            )
        return self.take()


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    fields: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values = fields.setdefault(name, [])
        if value not in values:
            values.append(value)
    return {name: b", ".join(values) for name, values in fields.items()}
