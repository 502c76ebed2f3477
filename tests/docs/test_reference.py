"""The reference against the code: nothing undocumented, nothing documented that is not there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.support import reference
from tests.support.documents import PAGES, anchors, links, shown_commands

from mainspring.base import errors
from mainspring.ledger.types import Inference, Outcome
from mainspring.web.management import problems
from mainspring.web.surfaces import SURFACES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.server import RunningServer

PARTS = [(page, name) for page, names in reference.WRITTEN.items() for name in names]
TABLE_NAME = re.compile(r"^\| `([^`]+)`", re.MULTILINE)
ENDPOINT = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`\s]*)`")
#: Surfaces for people, which no OpenAPI document describes.
UNDESCRIBED = {"/console", "/docs", "/openapi.json", "/metrics", "/healthz", "/readyz"}


def page(name: str) -> str:
    return (reference.PAGES / name).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, to the next one of any level."""
    return re.split(r"^#+ ", text.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_written_parts_are_as_they_would_be_written_now(name: str, part: str) -> None:
    """If this fails: `python -m tests.support.reference`, and read what changed."""
    now = reference.replaced(page(name), part, reference.WRITTEN[name][part]())
    assert page(name) == now


def test_every_setting_says_what_it_is_for() -> None:
    silent = [
        f"[{place}] {key}" for place, key, field in reference.settings_fields() if not field.description
    ]
    assert not silent


def test_every_command_and_option_says_what_it_is_for() -> None:
    silent = []
    for words, command in reference.command_tree():
        silent += [] if command.help else [words]
        silent += [
            f"{words} {p.name}" for p in command.params if p.name != "help" and not getattr(p, "help", None)
        ]
    assert not silent


def test_commands_in_the_documentation_exist() -> None:
    commands = dict(reference.command_tree())
    flags = {
        words: {flag for p in c.params for flag in [*p.opts, *p.secondary_opts]}
        for words, c in commands.items()
    }
    wrong = []
    shown = shown_commands()
    for where, words in shown:
        name = next(
            (n for n in (" ".join(["mainspring", *words[:2]]), f"mainspring {words[0]}") if n in commands), ""
        )
        unknown = [w.partition("=")[0] for w in words if w.startswith("--")]
        wrong += [f"{where}: {flag}" for flag in unknown if flag not in flags.get(name, set())]
        wrong += [] if name else [f"{where}: mainspring {' '.join(words)}"]
    assert len(shown) > 10
    assert not wrong


def test_ledger_columns() -> None:
    assert TABLE_NAME.findall(section(page("ledger.md"), "Columns")) == list(Inference.__struct_fields__)


def test_attempt_outcomes() -> None:
    assert set(TABLE_NAME.findall(section(page("ledger.md"), "Outcomes of an attempt"))) == set(
        Outcome.__args__
    )


def test_error_codes() -> None:
    def tree(kind: type[errors.MainspringError]) -> set[str]:
        return {kind.code} | {code for child in kind.__subclasses__() for code in tree(child)}

    kinds = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.MainspringError)
    }
    documented = set(TABLE_NAME.findall(section(page("http.md"), "Errors")))
    assert kinds <= documented
    assert problems.UnsupportedMediaType.code in documented
    # What OpenAI's clients know by another name.
    assert documented - {"model_not_found"} <= tree(errors.MainspringError)


def test_protocol_paths() -> None:
    documented = {path for _, path in ENDPOINT.findall(page("http.md"))}
    assert set(SURFACES) <= documented


def test_endpoints(server: RunningServer) -> None:
    """Documented, and described by OpenAPI, are the same; the protocol surfaces answer where they are said to be."""
    api = server.client.get("/openapi.json").json()["paths"]
    described = {(method.upper(), path) for path, methods in api.items() for method in methods}
    documented = set(ENDPOINT.findall(page("http.md")))
    elsewhere = {(m, p) for m, p in documented if p.startswith("/v1/") or p in UNDESCRIBED}
    assert {(m, p) for m, p in described if p not in UNDESCRIBED} == documented - elsewhere
    for method, path in elsewhere:
        status = server.client.request(method, path.replace("{model}", "default"), json={}).status_code
        assert status not in {404, 405, 500}, (method, path)


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(source: Path) -> None:
    broken = []
    for link in links(source):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (source.parent / name).resolve() if name else source
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_no_page_is_forgotten() -> None:
    """Every page below docs is linked from another one."""
    linked = {
        (source.parent / link.partition("#")[0]).resolve()
        for source in PAGES
        for link in links(source)
        if not re.match(r"[a-z]+:", link)
    }
    assert not [path for path in PAGES if path not in linked and path.name != "README.md"]
