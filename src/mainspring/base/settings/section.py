"""What every section of the configuration is: frozen, and without keys that nobody knows."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the file. A key that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
