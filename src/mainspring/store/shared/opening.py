"""Opens the shared state that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.store.shared.types import Shared


def open_shared(url: str, *, workers: int = 1, timeout_seconds: float = 0.05) -> Shared:
    """The shared state behind a URL; `start` begins to use it.

    Args:
        url: `memory://`, or `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, with `rediss://` for TLS
            and then perhaps `?ssl_ca_certs=FILE`.
        workers: processes of this server: how many share, as far as nobody knows better.
        timeout_seconds: a server that takes longer to answer is as good as away.

    Raises:
        ConfigError: the URL names nothing that we know.
    """
    if url == "memory://":
        from mainspring.store.shared.memory import MemoryShared  # noqa: PLC0415 - only the backend in use is loaded

        return MemoryShared(parts=workers)
    from mainspring.store.shared.redis import RedisShared  # noqa: PLC0415 - as above
    from mainspring.store.shared.resp import Address  # noqa: PLC0415 - as above

    return RedisShared(Address.read(url), processes=workers, timeout_seconds=timeout_seconds)
