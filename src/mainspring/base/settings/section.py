"""What every section of the configuration is: frozen, and without keys that nobody knows."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationInfo, field_validator

_NUMBERS = {int, float}
#: `Field(json_schema_extra=AT_START)`: a process reads this setting once, and an edit is in force after a restart.
AT_START: dict[str, JsonValue] = {"at_start": True}


class Section(BaseModel):
    """A table of the file. A key that does not exist is an error, and so is a number that is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Python takes true for 1; who writes true for a number means something else."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation in _NUMBERS:
            raise ValueError("true and false are no numbers; write it in digits")
        return value

    @classmethod
    def read_once(cls) -> list[str]:
        """The keys that a process reads only when it starts."""
        return [key for key, field in cls.model_fields.items() if field.json_schema_extra == AT_START]
