"""All of `mainspring check`, in the order in which it is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mainspring.base.errors import ConfigError
from mainspring.base.settings import DEFAULT_FILE, Settings, load
from mainspring.cli.checking.findings import Finding, doubtful, failed, good, refused
from mainspring.cli.checking.governing import limits, tracking
from mainspring.cli.checking.listening import listening
from mainspring.cli.checking.stores import stores
from mainspring.cli.checking.upstreams import local_models, providers, routes
from mainspring.web.doubts import doubts
from mainspring.web.rehearsal import rehearse

if TYPE_CHECKING:
    from pathlib import Path

#: So many mistakes are told one by one.
_MOST = 20


def examine(config: Path | None) -> list[Finding]:
    """Look at everything that the configuration names.

    Raises:
        ConfigError: the file that was named is not there.
    """
    try:
        settings = load(config)
    except ConfigError as error:
        if config is not None and not config.exists():
            raise  # that is a mistake in the command, not in the configuration
        return _mistakes(error)
    usable = True
    try:
        rehearse(settings, config)
    except ConfigError as error:
        usable, found = False, _mistakes(error)
    else:  # what follows is built from settings that can be built
        found = [_configuration(config, settings)]
        found += [doubtful(doubt.place, doubt.detail, doubt.remedy) for doubt in doubts(settings)]
    found.append(listening(settings.server.host, settings.server.port))
    stored, governed = asyncio.run(stores(settings, usable=usable))
    found += [*stored, *providers(settings), *local_models(settings)]
    if usable:
        found += routes(settings)
    return [*found, limits(settings), *governed, *tracking(settings), _somebody_answers(found)]


def _mistakes(error: ConfigError) -> list[Finding]:
    """What is wrong with the configuration: as much as a person reads at once."""
    errors = [error, *error.others]
    found = [refused("configuration", one) for one in errors[:_MOST]]
    if len(errors) > _MOST:
        found.append(failed("configuration", f"{len(errors) - _MOST} more mistakes", "Mend these first."))
    return found


def _configuration(config: Path | None, settings: Settings) -> Finding:
    file = config or DEFAULT_FILE
    where = str(file) if file.exists() else "no file, defaults and the environment"
    return good("configuration", f"{where} (hash {settings.snapshot()[0]})")


def _somebody_answers(findings: list[Finding]) -> Finding:
    """Whether there is any model at all."""
    sources = {
        finding.subject.partition(",")[0]
        for finding in findings
        if finding.works
        and not finding.warns
        and finding.subject.startswith(("provider ", "model local/"))
        and "embed" not in finding.subject
    }
    if sources:
        return good("models", f"{len(sources)} {'source' if len(sources) == 1 else 'sources'} of answers")
    return failed(
        "models",
        "nothing can answer",
        "Mend a provider above, or run `mainspring local pull small`."
        if any(finding.subject.startswith("provider ") for finding in findings)
        else "Run `mainspring local pull small`, or set OPENAI_API_KEY or ANTHROPIC_API_KEY.",
    )
