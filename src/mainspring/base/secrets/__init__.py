"""Secrets behind references: read at start, read again when they are rotated, the last known one kept in use.

`fetch` reads one now, from wherever it is kept. `Secrets` holds those that a process uses, in memory, and follows
their rotation. What a secret opens, this package does not know.
"""

from mainspring.base.secrets.keeper import Secrets
from mainspring.base.secrets.sources import fetch
from mainspring.base.secrets.types import Secret

__all__ = ["Secret", "Secrets", "fetch"]
