"""The command `mainspring`: one file per noun, each with its commands, help texts and output.

This is the top floor. It knows every room below and is known by none. What a command does is said in the rooms; here
stands how it is asked for and how it looks in a terminal. Whatever is costly to import is imported by the command
that needs it, so that `mainspring --version` and `--help` answer at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    Args:
        arguments: what stands behind `mainspring`; by default those of this process.
    """
    from mainspring.cli.app import run  # noqa: PLC0415 - Typer is only loaded for the command line

    raise SystemExit(run(arguments))
