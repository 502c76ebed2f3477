"""One reference, read now: the environment, a file, or a service over the network."""

from __future__ import annotations

import os
from pathlib import Path

from mainspring.base.errors import SecretError
from mainspring.base.secrets.types import Secret
from mainspring.base.settings.secrets import kind_of


def fetch(reference: str) -> Secret:
    """Read a secret. Blocks, for seconds where it is kept on the network.

    Raises:
        SecretError: it is not there, or may not be read; says what to do.
        SecretUnavailable: where it is kept does not answer.
    """
    name = reference.partition(":")[2]
    match kind_of(reference):
        case "env":
            return _from_environment(name)
        case "file":
            return _from_file(name)
        case "vault":
            from mainspring.base.secrets.vault import read_vault  # noqa: PLC0415 - only where it is referred to

            return read_vault(name)
        case "aws":
            from mainspring.base.secrets.aws import read_aws  # noqa: PLC0415 - an extra

            return read_aws(name)
        case _:
            return Secret(reference.strip())


def local(reference: str) -> bool:
    """Whether reading it takes no network: it may then be looked at often."""
    return kind_of(reference) in {"env", "file", "literal"}


def _from_environment(name: str) -> Secret:
    value = os.environ.get(name, "").strip()
    if not value:
        raise SecretError(
            f"The environment variable {name} is not set.", remedy=f"Set {name}, or name another source."
        )
    return Secret(value)


def _from_file(name: str) -> Secret:
    path = Path(name).expanduser()
    try:
        changed = path.stat().st_mtime_ns // 1000
        value = path.read_text("utf-8").strip()
    except FileNotFoundError:
        raise SecretError(f"The file {name} is not there.", remedy="Put the secret into it.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no text"
        raise SecretError(
            f"The file {name} cannot be read: {reason}.", remedy="Let this user read it."
        ) from None
    if not value:
        raise SecretError(f"The file {name} is empty.", remedy="Put the secret into it.")
    return Secret(value, changed)
