"""The parts of the reference that are written by the code itself.

`python -m tests.support.reference` writes them between their marks in docs/reference; tests compare what stands there
with what would be written now, so that a setting, command, option, metric or provider cannot change in silence.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mainspring.base.settings import OTHER_VARIABLES, PREFIX, Settings
from mainspring.base.settings.section import AT_START

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "mainspring"


def settings_fields(
    model: type[BaseModel] = Settings, place: str = ""
) -> Iterator[tuple[str, str, FieldInfo]]:
    """Every key of the file as (section, key, field), sections in the order of the model."""
    nested: list[tuple[str, type[BaseModel]]] = []
    for key, field in model.model_fields.items():
        inner = section_of(field.annotation)
        if inner is None:
            yield place, key, field
        else:
            kind, many = inner
            name = {"models": '."PROVIDER/MODEL"'}.get(key, ".NAME") if many else ""
            nested.append((f"{place}.{key}{name}".removeprefix("."), kind))
    for name, kind in nested:
        yield from settings_fields(kind, name)


def section_of(annotation: Any) -> tuple[type[BaseModel], bool] | None:
    """The section behind an annotation, and whether there may be many of it."""
    if get_origin(annotation) in {Union, UnionType}:  # a section that may be absent, or switched off
        found = [section_of(part) for part in get_args(annotation)]
        return next((section for section in found if section is not None), None)
    many = get_origin(annotation) is dict
    kind = get_args(annotation)[-1] if many or get_origin(annotation) is list else annotation
    return (kind, many) if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def sections(model: type[BaseModel] = Settings, place: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section as (name, model)."""
    for key, field in model.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            kind, many = inner
            name = {"models": '."PROVIDER/MODEL"'}.get(key, ".NAME") if many else ""
            whole = f"{place}.{key}{name}".removeprefix(".")
            yield whole, kind
            yield from sections(kind, whole)


def type_text(annotation: Any) -> str:
    """A type as people say it."""
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is list:
        return "list of numbers" if get_args(annotation)[0] in {int, float} else "list of text"
    if get_origin(annotation) is dict:
        return "table of text"
    if parts:
        return ", or ".join(type_text(part) for part in parts)
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}[
        annotation.__name__
    ]


def default_text(field: FieldInfo) -> str:
    """A default as it would stand in the file."""
    value = (
        field.get_default(call_default_factory=True)
        if field.default_factory is None
        else field.default_factory()
    )
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def limits_text(field: FieldInfo) -> str:
    """The limits of a number."""
    limits = {type(mark).__name__: mark for mark in field.metadata}
    low, high = limits.get("Ge"), limits.get("Le")
    if low is not None and high is not None:
        return f", {low.ge} to {high.le}"
    if low is not None and low.ge:
        return f", at least {low.ge}"
    return ", above 0" if "Gt" in limits else ""


def once_text(field: FieldInfo) -> str:
    """What is to be said of a setting that a process reads once."""
    return " Read at start only." if field.json_schema_extra == AT_START else ""


def configuration() -> str:
    """Every key, by section."""
    named = dict(sections())
    text: list[str] = []
    seen = None
    for place, key, field in settings_fields():
        if place != seen:
            about = (
                (named[place].__doc__ or "").partition(":")[2].strip() if place else "At the top of the file."
            )
            about = re.sub(r"\s*\n\s*", " ", about)
            about = about or (named[place].__doc__ or "").partition(",")[2].strip()
            text += [
                "",
                f"### `{written_header(place, named)}`" if place else "### Without a section",
                "",
                about[:1].upper() + about[1:],
                "",
            ]
            text += ["| key | type | default | |", "|---|---|---|---|"]
            seen = place
        kind = type_text(field.annotation) + limits_text(field)
        text.append(
            f"| `{key}` | {kind} | {default_text(field)} | {field.description or ''}{once_text(field)} |"
        )
    text += ["", "### Variables that are not settings", "", "| variable | read by |", "|---|---|"]
    text += [f"| `{name}` | {about} |" for name, about in sorted(OTHER_VARIABLES.items())]
    return "\n".join(text).strip()


def written_header(place: str, named: dict[str, type[BaseModel]]) -> str:
    """A section's header; one that stands in the file several times says so at the start of its docstring."""
    double = (named[place].__doc__ or "").startswith("`[[")
    return f"[[{place}]]" if double else f"[{place}]"


def providers() -> str:
    """The known providers."""
    from mainspring.providers.known import KNOWN  # noqa: PLC0415 - each page loads only its own part of the code

    rows = ["| name | wire | switched on by | address | serves natively |", "|---|---|---|---|---|"]
    for name, known in KNOWN.items():
        switch = known.key_variable or known.url_variable
        address = f"`{known.base_url}`" if known.base_url else "your own"
        if known.url_variable:
            address += f", or `{known.url_variable}`"
        serves = ", ".join(sorted(known.operations))
        rows.append(f"| `{name}` | {known.api} | `{switch}` | {address} | {serves} |")
    return "\n".join(rows)


def environment_name(place: str, key: str) -> str:
    """The variable that overrides a key."""
    return PREFIX + "__".join([*place.split("."), key]).strip("_").upper()


def command_tree() -> Iterator[tuple[str, Any]]:
    """Every command that does something, as (words, command)."""
    import typer.main  # noqa: PLC0415 - each page loads only its own part of the code

    from mainspring.cli.app import app  # noqa: PLC0415 - as above

    def walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:
        children = getattr(command, "commands", None)
        if children is None:
            yield words, command
        else:
            for name in children:
                if not children[name].hidden:
                    yield from walk(f"{words} {name}", children[name])

    yield from walk("mainspring", typer.main.get_command(app))


def commands() -> str:
    """Every command with its arguments and options."""
    import typer.main  # noqa: PLC0415 - each page loads only its own part of the code

    from mainspring.cli.app import app  # noqa: PLC0415 - as above

    text = ["### Every command", "", *parameters(typer.main.get_command(app))]
    for words, command in command_tree():
        about = re.sub(r"\s+", " ", (command.help or "").partition("\f")[0].replace("\b", "")).strip()
        text += ["", f"### `{words}`", "", about, "", *parameters(command)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(text)).strip()


def parameters(command: Any) -> list[str]:
    """The arguments and options of a command as a table; empty when it has none."""
    rows = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        if parameter.param_type_name == "argument":
            name = f"`{(parameter.metavar or parameter.name).upper()}`" + (
                "" if parameter.required else " (optional)"
            )
        else:
            name = ", ".join(f"`{flag}`" for flag in [*parameter.opts, *parameter.secondary_opts])
            name += " (required)" if parameter.required else ""
        about = re.sub(r"\s+", " ", parameter.help or "").strip()
        default = parameter.default
        if (
            default not in {None, ""}
            and not isinstance(default, bool)
            and isinstance(default, str | int | float)
        ):
            about += f" Default: `{default}`."
        rows.append(f"| {name} | {about.strip()} |")
    return ["| | |", "|---|---|", *rows] if rows else []


def metrics() -> str:
    """Every metric: name, kind, labels, meaning."""
    rows = ["| metric | kind | labels | |", "|---|---|---|---|"]
    for name, kind, labels, about in [*answer_metrics(), *other_metrics()]:
        rows.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {about} |")
    return "\n".join(rows)


def answer_metrics() -> Iterator[tuple[str, str, list[str], str]]:
    """What is told of each answer, read off a meter that has counted one."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - as above

    from mainspring.base.telemetry import Meter  # noqa: PLC0415 - each page loads only its own part of the code

    meter = Meter()
    meter.answer(
        dialect="openai.chat",
        route="default",
        provider="openai",
        model="m",
        status=200,
        error=None,
        stream=True,
        latency_s=1.0,
        first_token_s=0.5,
        input_tokens=1,
        output_tokens=1,
        cost_nusd=1,
    )
    for family in text_string_to_metric_families(meter.render()[0].decode()):
        if family.name.startswith("mainspring_"):
            labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
            suffix = "_total" if family.type == "counter" else ""
            yield family.name.removesuffix("_total") + suffix, family.type, labels, family.documentation


def other_metrics() -> Iterator[tuple[str, str, list[str], str]]:
    """Gauges and events, read off the calls that register them."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            texts = [part.value for part in node.args[:2] if isinstance(part, ast.Constant)]
            if (
                node.func.attr in {"gauge", "states", "count"}
                and len(texts) == 2
                and "meter" in ast.unparse(node.func).lower()
            ):
                gauge = node.func.attr != "count"
                labels = [word.arg for word in node.keywords if word.arg and word.arg != "amount"]
                if node.func.attr == "states":
                    labels = sorted(
                        {key.value for part in ast.walk(node) if isinstance(part, ast.Dict) for key in part.keys
                         if isinstance(key, ast.Constant)}
                    )  # fmt: skip
                name = f"mainspring_{texts[0]}" + ("" if gauge else "_total")
                found[name] = (name, "gauge" if gauge else "counter", labels, str(texts[1]))
    yield from (found[name] for name in sorted(found))


TRANSLATIONS = ("upstream_messages", "client_messages", "client_responses", "client_completions")


def translations() -> str:
    """The tables at the head of each half of the translation."""
    text = []
    for module in TRANSLATIONS:
        tree = ast.parse((SOURCE / "providers" / "translate" / f"{module}.py").read_text("utf-8"))
        head, _, table = (ast.get_docstring(tree) or "").partition("\n\n")
        rows = [line.replace("|-|-|", "|---|---|") for line in table.splitlines() if line.startswith("|")]
        text += ["", f"### {head.strip().rstrip('.')}", "", *rows]
    return "\n".join(text).strip()


#: page: {mark: who writes it}
WRITTEN = {
    "configuration.md": {"configuration": configuration, "providers": providers},
    "cli.md": {"commands": commands},
    "metrics.md": {"metrics": metrics},
    "wire.md": {"translations": translations},
}


def marks(name: str) -> tuple[str, str]:
    """What stands before and after a written part."""
    return f"<!-- {name}:begin, written by `python -m tests.support.reference` -->", f"<!-- {name}:end -->"


def replaced(page: str, name: str, text: str) -> str:
    """The page with that part written anew.

    Raises:
        ValueError: the page does not have the marks.
    """
    begin, end = marks(name)
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"no marks for {name!r}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def main() -> None:
    """Write every part."""
    for page, parts in WRITTEN.items():
        text = (PAGES / page).read_text("utf-8")
        for name, write in parts.items():
            text = replaced(text, name, write())
        (PAGES / page).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
