"""The blob port, on a folder, in memory and on a server that speaks S3."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest
from tests.support.ports import own_port

from mainspring.base.errors import ConfigError, NotFound, StoreUnavailable
from mainspring.store import BlobStore, open_blobs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket `blobs` on loopback."""
    port = own_port()
    root = tmp_path_factory.mktemp("s3")
    (root / "blobs").mkdir()
    server = subprocess.Popen(
        [sys.executable, "-m", "localbucket", "--port", str(port), str(root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:
        try:
            urlopen(Request(f"{url}/blobs", method="HEAD"), timeout=2).close()
            break
        except OSError:
            assert time.monotonic() < deadline, "localbucket did not start"
            time.sleep(0.05)
    yield url
    server.terminate()
    server.wait(30)


@pytest.fixture(params=["file", "memory", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    if request.param == "file":
        return open_blobs(f"file://{tmp_path}/blobs")
    if request.param == "memory":
        return open_blobs("memory://")
    for name, value in {
        "AWS_ENDPOINT_URL": request.getfixturevalue("s3_endpoint"),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return open_blobs(f"s3://blobs/{tmp_path.name}")


async def test_what_is_put_can_be_got(blobs: BlobStore) -> None:
    data = bytes(range(256)) * 40_000
    await blobs.put("a/b/large.bin", data)
    await blobs.put("a/b/empty", b"")
    assert await blobs.get("a/b/large.bin") == data
    assert await blobs.get("a/b/empty") == b""


async def test_a_second_put_replaces_the_first(blobs: BlobStore) -> None:
    await blobs.put("name", b"one, and longer")
    await blobs.put("name", b"two")
    assert await blobs.get("name") == b"two"


async def test_names_are_listed_by_prefix(blobs: BlobStore) -> None:
    for name in ("b/2", "a/1", "b/c/3", "bc/4"):
        await blobs.put(name, b"x")
    assert await blobs.list() == ["a/1", "b/2", "b/c/3", "bc/4"]
    assert await blobs.list("b") == ["b/2", "b/c/3"]
    assert await blobs.list("nothing") == []


async def test_a_blob_that_is_not_there(blobs: BlobStore) -> None:
    assert not await blobs.exists("missing")
    with pytest.raises(NotFound):
        await blobs.get("missing")
    await blobs.delete("missing")


async def test_a_deleted_blob_is_gone(blobs: BlobStore) -> None:
    await blobs.put("here", b"x")
    assert await blobs.exists("here")
    await blobs.delete("here")
    assert not await blobs.exists("here")


async def test_a_store_that_is_away_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreUnavailable):
        await open_blobs(f"file://{tmp_path}/file").put("name", b"x")


@pytest.mark.parametrize("url", ["ftp://user:secret@host", "folder/blobs", "s3://", "file://"])
def test_a_url_of_another_kind_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_blobs(url)
    assert "secret" not in str(caught.value)
