"""What is wrong with a configuration, and several such mistakes told at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mainspring.base.errors.root import MainspringError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class ConfigError(MainspringError):
    """The configuration cannot be used as it is.

    Attributes:
        place: the path of the key that is to blame, entries of lists counted from 0; empty when it is not one key.
        others: what else is wrong, where more was found than this.
    """

    code = "config_error"

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        place: tuple[str | int, ...] = (),
        others: Sequence[ConfigError] = (),
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.place = place
        self.others = others

    def __str__(self) -> str:
        more = len(self.others)
        if not more:
            return super().__str__()
        mistakes = "one more mistake" if more == 1 else f"{more} more mistakes"
        return f"{super().__str__()} `mainspring check` tells of {mistakes}."


class Mistakes:
    """Gathers what is wrong with a configuration, so that all of it is told at once."""

    def __init__(self) -> None:
        self.found: list[ConfigError] = []

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """What is raised within is kept, and the rest of the block left out."""
        try:
            yield
        except ConfigError as error:
            self.add(error)

    def add(self, *errors: ConfigError) -> None:
        """Keep errors, each with the others that came with it."""
        for error in errors:
            self.found += [error, *error.others]
            error.others = ()

    def tell(self) -> None:
        """Raise the first with the others, if there are any."""
        if self.found:
            first, *others = self.found
            first.others = others
            raise first from None
