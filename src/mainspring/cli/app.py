"""The tree of commands, and how a failure is told."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring import __version__
from mainspring.base.errors import ConfigError, InvalidRequest, MainspringError
from mainspring.cli import alerts, budgets, chat, check, keys, ledger, providers, routes, serve, usage

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, NOT_SO, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="mainspring",
    help="The back end of an AI startup as one program: one process, one database, one id per answer.",
    epilog="Exit codes: 0 done, 1 the thing asked about is not so, 2 wrong usage.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: the same text on every terminal, without loading a renderer
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mainspring {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    del version, debug  # `run` has seen --debug, wherever it stood


app.command("serve", short_help="Run the server.")(serve.serve)
app.command("chat")(chat.chat)
app.command("check", short_help="Check the configuration and what it names.")(check.check)
app.command("usage", short_help="Sum up requests, tokens, cost and latency.")(usage.usage)
app.add_typer(keys.app, name="keys")
app.add_typer(alerts.app, name="alerts")
app.add_typer(budgets.app, name="budgets")
app.add_typer(providers.app, name="providers")
app.add_typer(routes.app, name="routes")
app.add_typer(ledger.app, name="ledger", short_help="Follow, look up and export answers.")
if find_spec("mainspring.cli.local") is not None:
    app.add_typer(import_module("mainspring.cli.local").app, name="local")


@cache
def _command() -> Any:
    """All commands as Click knows them; to make them takes longer than most of them run."""
    return typer.main.get_command(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = given[: given.index("--")] if "--" in given else given
    debug = "--debug" in options
    if debug:
        given.remove("--debug")  # an option of the whole program, so it may stand behind the command too
    try:
        result = _command()(given, prog_name="mainspring", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, a pager) has seen enough. Nothing more may be written, at exit either.
        sys.stdout = None  # Python then skips the last flush
        return DONE
    except Exception as error:  # whatever it is, it is told in a sentence, and in full with --debug
        if debug and not _is_usage(error):
            raise
        return _tell(error)
    return result if isinstance(result, int) else DONE


def _is_usage(error: Exception) -> bool:
    """Whether the command line itself was wrong; Typer carries its own Click, whose errors know how to show."""
    return hasattr(error, "show") and hasattr(error, "exit_code")


def _tell(error: Exception) -> int:
    """Say on standard error what is wrong and what to do; returns the exit code."""
    if _is_usage(error):
        error.show()  # type: ignore[attr-defined] # seen by _is_usage
        return WRONG_USAGE
    if isinstance(error, MainspringError):
        typer.echo(f"Error: {error}", err=True)
        return WRONG_USAGE if isinstance(error, (ConfigError, InvalidRequest)) else NOT_SO
    typer.echo(
        f"Error: {type(error).__name__}: {error}\nThis is a bug of ours. Run the command again with --debug to see where.",
        err=True,
    )
    return NOT_SO
