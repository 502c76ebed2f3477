"""The secret of a key: how it is made, recognised and kept in a file."""

from __future__ import annotations

import os
import secrets
import string
from hashlib import sha256
from pathlib import Path

from mainspring.base.errors import ConfigError
from mainspring.base.private import private_folder

#: Where the admin key is kept that we make when none is given, in the working folder.
ADMIN_KEY_FILE = Path(".mainspring/admin.key")
PREFIX = "ms-"
#: 40 letters and digits are 238 bits, so a plain SHA-256 is as good as a slow hash. Without dashes, so that a double
#: click takes the whole of it.
_LENGTH = 40
_LETTERS = string.ascii_letters + string.digits
#: A key that somebody chose must at least not be guessable in a lunch break.
SHORTEST = 16


def new_secret() -> str:
    """A new secret: `ms-` and 40 letters and digits."""
    return PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def digest_of(secret: str) -> bytes:
    """What is stored of a secret. Any text has a digest, so that a strange header is just an unknown key."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def check_admin_key(chosen: str | None, path: Path) -> None:
    """See whether the first admin key can be one: what was chosen, or else what stands in the file.

    Raises:
        ConfigError: it cannot; the key is not shown.
    """
    if chosen is None:
        read_file(path)
        return
    if len(chosen) < SHORTEST:
        raise ConfigError(
            f"MAINSPRING_ADMIN_KEY has fewer than {SHORTEST} characters.", remedy="Set a longer one."
        )
    if not (chosen.isascii() and chosen.isprintable()) or " " in chosen:
        raise ConfigError(
            "MAINSPRING_ADMIN_KEY has characters that no header carries.",
            remedy="Set one of letters and digits.",
        )


def read_file(path: Path) -> str | None:
    """The secret in a file, or `None` when there is no such file.

    Raises:
        ConfigError: the file is there but cannot be read or is empty.
    """
    try:
        secret = path.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        secret = ""
    except OSError as error:
        raise ConfigError(
            f"The admin key in {path} cannot be read: {error.strerror or error}.",
            remedy="Check its owner and mode.",
        ) from None
    if len(secret) < SHORTEST:
        raise ConfigError(f"{path} holds no admin key.", remedy="Delete the file; a new key is then made.")
    return secret


def write_file(path: Path, secret: str) -> bool:
    """Put a secret into a new file with mode 0600: whole or not at all.

    Returns:
        False when the file is there already; it is left as it is.

    Raises:
        ConfigError: the folder cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        private_folder(path.parent)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(secret + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(part, path)  # unlike a rename, this fails when another process was first
        finally:
            part.unlink()
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(
            f"The admin key cannot be kept in {path}: {error.strerror}.",
            remedy="Make the folder writable, or set MAINSPRING_ADMIN_KEY.",
        ) from None
    return True
