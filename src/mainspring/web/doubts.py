"""What a configuration says that can be, but is probably not meant: a warning of `check` and in the log of a server.

A doubt must be right nearly always. Nothing here talks to the network, and no value that may be a secret is shown.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mainspring.base.private import open_to_everybody
from mainspring.base.settings import without_password
from mainspring.base.settings.secrets import kind_of
from mainspring.keys import ADMIN_KEY_FILE
from mainspring.providers.configured import configurations
from mainspring.providers.known import KNOWN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from mainspring.base.settings import ModelSettings, Settings, TimeoutSettings

#: Dollars per million tokens. No model costs less than the one and is not free, and none more than the other.
_LEAST_USD, _MOST_USD = 0.001, 5000
#: A text that is at least so long may be a real key; for local servers people write any word.
_KEY_LETTERS = 20
#: Providers some of whose models begin with the provider's own name.
_OWN_NAME_AGAIN = {"groq", "openrouter"}
_FOR_OTHERS = 0o077


class Doubt(NamedTuple):
    """Something that works, but is probably not meant."""

    place: str
    detail: str
    remedy: str


def doubts(settings: Settings) -> Iterator[Doubt]:
    """What is probably not meant."""
    yield from _of_stores(settings)
    yield from _of_providers(settings)
    yield from _of_models(settings)
    yield from _of_routes(settings)
    yield from _of_rules(settings)


def _of_stores(settings: Settings) -> Iterator[Doubt]:
    url = settings.storage.database
    name = url.partition("://")[2].partition("?")[0].partition("/")[2]
    if url.startswith("postgres") and not name and "dbname=" not in url:
        yield Doubt(
            "storage.database",
            f"{without_password(url)} names no database, so the one that is named like the user is taken.",
            "Put its name behind the host: postgresql://USER:PASSWORD@HOST/NAME.",
        )
    if settings.server.workers > 1 and settings.storage.shared.startswith("memory:"):
        yield Doubt(
            "storage.shared",
            f"each of {settings.server.workers} workers lets only its part of every limit through,"
            f" 1/{settings.server.workers}.",
            "Name a Redis or Valkey, and limits hold exactly across all of them.",
        )
    if settings.admin_key is None and _is_open_to_others(ADMIN_KEY_FILE):
        yield Doubt(
            str(ADMIN_KEY_FILE),
            "other users of this machine may read it.",
            f"Run `chmod 600 {ADMIN_KEY_FILE}`.",
        )
    file = Path(url.removeprefix("sqlite:///").partition("?")[0])
    if url.startswith("sqlite:///") and open_to_everybody(file):
        yield Doubt(
            "storage.database",
            f"every user of this machine may read {file}, and with it what people asked.",
            f"Run `chmod o-rwx {file}*`, or on its folder.",
        )


def _of_providers(settings: Settings) -> Iterator[Doubt]:
    for name, provider in settings.providers.items():
        if any(kind_of(key) == "literal" and len(key) >= _KEY_LETTERS for key in provider.api_keys):
            yield Doubt(
                f"providers.{name}.api_keys",
                "a key stands in the file itself, where whoever reads the file has it.",
                "Put it into a variable and write env:NAME.",
            )


def _of_models(settings: Settings) -> Iterator[Doubt]:
    providers = {*configurations(settings), *KNOWN}
    for name, model in settings.models.items():
        provider = name.partition("/")[0]
        if provider not in providers:
            yield Doubt(
                f"models.{name}",
                f"there is no provider {provider!r}, so it has no effect.",
                _meant(provider, providers) or "Add the provider, or set its key.",
            )
        elif model.path is not None and provider != "local":
            yield Doubt(f"models.{name}.path", "only a local model has a file.", "Take it out.")
        elif model.path is not None and not Path(model.path).is_file():
            yield Doubt(f"models.{name}.path", f"there is no file {model.path}.", "Correct the path.")
        yield from _of_prices(name, model)
    directory = Path(settings.local.directory)
    if directory.exists() and not directory.is_dir():
        yield Doubt("local.directory", f"{directory} is a file.", "Name a folder.")


def _of_prices(name: str, model: ModelSettings) -> Iterator[Doubt]:
    for key in ("input_usd_per_mtok", "output_usd_per_mtok"):
        price = getattr(model, key)
        if price and not _LEAST_USD <= price <= _MOST_USD:
            little = price < _LEAST_USD
            yield Doubt(
                f"models.{name}.{key}",
                f"{price:g} dollars per million tokens are {'less' if little else 'more'} than any model costs.",
                f"If that is the price of one token, write {price * 1_000_000:g}."
                if little
                else "Write the price of a million tokens.",
            )


def _of_routes(settings: Settings) -> Iterator[Doubt]:
    yield from _of_timeouts("defaults.timeouts", settings.defaults.timeouts, settings.defaults.timeouts.total)
    for name, route in settings.routes.items():
        own = route.timeouts
        total = own.total if "total" in own.model_fields_set else settings.defaults.timeouts.total
        yield from _of_timeouts(f"routes.{name}.timeouts", own, total)
        for target in [*route.targets, *(target for rule in route.when for target in rule.targets)]:
            provider, _, model = target.partition("/")
            if model.startswith(f"{provider}/") and provider not in _OWN_NAME_AGAIN:
                yield Doubt(
                    f"routes.{name}.targets",
                    f"the target {target!r} has the name of its provider twice.",
                    f"Write {model!r}.",
                )


def _of_timeouts(place: str, timeouts: TimeoutSettings, total: float) -> Iterator[Doubt]:
    for key in ("connect", "first_token", "idle"):
        seconds = getattr(timeouts, key)
        if key in timeouts.model_fields_set and seconds > total:
            yield Doubt(
                f"{place}.{key}",
                f"a request has {total:g} seconds in all, so {seconds:g} are never waited.",
                "Write less, in seconds, or a longer total.",
            )


def _of_rules(settings: Settings) -> Iterator[Doubt]:
    providers, routes = {*configurations(settings), *KNOWN}, {*settings.routes, "default"}
    for name, rule in settings.alerts.rules.items():
        for key, known in (("provider", providers), ("route", routes)):
            value = getattr(rule, key)
            if value is not None and value not in known:
                yield Doubt(
                    f"alerts.rules.{name}.{key}",
                    f"there is no {key} {value!r}, so the rule never fires.",
                    _meant(value, known) or f"There are: {', '.join(sorted(known))}.",
                )


def _is_open_to_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & _FOR_OTHERS)
    except OSError:
        return False


def _meant(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.6)
    return f"Did you mean {near[0]!r}?" if near else ""
