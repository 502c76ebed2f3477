"""The blob port: bytes by name in a folder, a bucket or memory, on obstore."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.base.errors import ConfigError, NotFound, StoreUnavailable
from mainspring.base.private import private_folder
from mainspring.base.settings import without_password

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ObjectStore


class BlobStore:
    """Bytes by name. Names are relative paths with `/`; an existing blob is replaced as a whole.

    Every method raises `StoreUnavailable` when the store cannot be reached or refuses us.
    """

    def __init__(self, connect: Callable[[], ObjectStore], url: str) -> None:
        self._connect = connect
        self._store: ObjectStore | None = None
        self._url = url

    def __repr__(self) -> str:
        return f"BlobStore({self.place!r})"

    @property
    def place(self) -> str:
        """Its URL, without a password."""
        return without_password(self._url)

    async def put(self, name: str, data: bytes) -> None:
        """Keep bytes under a name. They are there for every reader once this returns."""
        import obstore  # noqa: PLC0415 - only where a payload is too large for the database

        with _translated(self):
            await obstore.put_async(self._open(), name, data)

    async def get(self, name: str) -> bytes:
        """The bytes under a name.

        Raises:
            NotFound: there is no such blob.
        """
        import obstore  # noqa: PLC0415 - see put

        with _translated(self, name):
            result = await obstore.get_async(self._open(), name)
            return bytes(await result.bytes_async())

    async def exists(self, name: str) -> bool:
        """Whether there is a blob of that name."""
        import obstore  # noqa: PLC0415 - see put

        try:
            with _translated(self, name):
                await obstore.head_async(self._open(), name)
        except NotFound:
            return False
        return True

    async def delete(self, name: str) -> None:
        """Remove a blob; one that is not there is no error."""
        import obstore  # noqa: PLC0415 - see put

        try:
            with _translated(self, name):
                await obstore.delete_async(self._open(), name)
        except NotFound:
            return

    async def list(self, prefix: str = "") -> list[str]:
        """The names that lie under a prefix (whole path segments), sorted."""
        import obstore  # noqa: PLC0415 - see put

        names: list[str] = []
        with _translated(self):
            async for metas in obstore.list(self._open(), prefix or None):
                names += [meta["path"] for meta in metas]
        return sorted(names)

    def _open(self) -> ObjectStore:
        if self._store is None:
            self._store = self._connect()
        return self._store


class _translated:  # noqa: N801 - used as a statement: `with _translated(store):`
    """Turns obstore's errors into ours; their texts may quote URLs with credentials, so only the class is named."""

    def __init__(self, blobs: BlobStore, name: str = "") -> None:
        self._blobs = blobs
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from obstore import exceptions  # noqa: PLC0415 - see put

        if isinstance(error, exceptions.NotFoundError | FileNotFoundError):
            raise NotFound(f"There is no blob {self._name!r}.") from error
        if isinstance(error, exceptions.BaseError | OSError):
            raise StoreUnavailable(
                f"The blob store {self._blobs.place} cannot be used ({type(error).__name__}).",
                remedy="Check [storage] blobs, its credentials and its free space.",
            ) from error


def open_blobs(url: str) -> BlobStore:
    """The store that a URL names; it is connected at first use.

    Args:
        url: `file://relative/path`, `file:///absolute/path`, `s3://bucket/prefix` (credentials, region and endpoint
            from the usual `AWS_` variables), `gs://`, `az://`, or `memory://`.

    Raises:
        ConfigError: the URL names no store that we know.
    """
    scheme, separator, rest = url.partition("://")
    if (
        not separator
        or scheme not in {"file", "memory", "s3", "gs", "az"}
        or (scheme != "memory" and not rest)
    ):
        raise ConfigError(
            f"storage.blobs: {without_password(url)!r} is not a blob store that Mainspring knows.",
            remedy="Use file://PATH, s3://BUCKET/PREFIX, gs://, az:// or memory://.",
        )

    def connect() -> ObjectStore:
        from obstore import store  # noqa: PLC0415 - see BlobStore.put

        if scheme == "memory":
            return store.MemoryStore()
        if scheme == "file":
            private_folder(Path(rest))  # payloads are in there
            return store.LocalStore(Path(rest))
        # A payload waits for this: give up long before the three minutes that obstore would try.
        options: dict[str, Any] = {"retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}}
        if scheme == "s3":
            # One blob is deleted at a time, and stores that only resemble S3 often lack the call for many.
            options["disable_bulk_delete"] = True
            # An endpoint without TLS (a store on the local network) has to be allowed in so many words.
            if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
                options["client_options"] = {"allow_http": True}
        return store.from_url(url, **options)

    return BlobStore(connect, url)
