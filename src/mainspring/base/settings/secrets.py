"""References to secrets, and how things that may hold a secret are shown."""

from __future__ import annotations

import os
from pathlib import Path


def resolve(reference: str) -> str | None:
    """The secret behind a reference, or `None` when the variable or file is not there.

    A text without a known prefix is the secret itself.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        return os.environ.get(name) or None
    if kind == "file":
        try:
            return Path(name).read_text("utf-8").strip() or None
        except OSError:
            return None
    return reference


def redact(reference: str) -> str:
    """A reference as it may be shown: names stay, a literal secret becomes `set`."""
    return reference if reference.startswith(("env:", "file:")) else "set"


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    head, separator, rest = url.partition("://")
    if not separator or "@" not in rest:
        return url
    credentials, _, host = rest.rpartition("@")
    return f"{head}://{credentials.split(':', 1)[0]}:***@{host}"
