"""The shape of the code itself: sizes, names, docstrings, imports and explained exceptions to rules."""

from __future__ import annotations

import ast
import graphlib
import importlib
import io
import re
import tokenize
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "mainspring"
MODULES = sorted(path for path in SOURCE.rglob("*.py"))
EVERYTHING = [*MODULES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]

FILE_LINES = 400
#: A file of tests is a list of cases.
TEST_FILE_LINES = 500
FUNCTION_LINES = 80
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
#: Where SQL may be written, outside the room that holds the databases: modules or packages of these names.
SQL_MODULES = {"queries", "tables"}
SQL = re.compile(r"\s*(SELECT\s|INSERT INTO\s|UPDATE \w+ SET\s|DELETE FROM\s|WITH \w+ AS\s)")

Function = ast.FunctionDef | ast.AsyncFunctionDef
EXPLAINED = re.compile(
    r"noqa: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)* +[-#] *\w|type: ignore\[[\w, -]+\] +[-#] *\w|pragma: no cover +[-#] *\w"
)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def comments(path: Path) -> dict[int, str]:
    """The comment of each line that has one."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def public_names(body: list[ast.stmt], prefix: str = "") -> list[tuple[str, ast.ClassDef | Function]]:
    """Public classes, functions and methods; an override or overload is documented where it is declared."""
    found: list[tuple[str, ast.ClassDef | Function]] = []
    for node in body:
        if not isinstance(
            node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) or node.name.startswith("_"):
            continue
        marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
        if marks & {"override", "overload", "setter"}:
            continue
        found.append((prefix + node.name, node))
        if isinstance(node, ast.ClassDef):
            found += public_names(node.body, f"{prefix}{node.name}.")
    return found


def test_files_stay_short() -> None:
    long = {}
    for path in EVERYTHING:
        lines = len(path.read_text("utf-8").splitlines())
        if lines > (TEST_FILE_LINES if path.is_relative_to(ROOT / "tests") else FILE_LINES):
            long[relative(path)] = lines
    assert not long


def test_functions_stay_short() -> None:
    long = [
        f"{relative(path)}:{node.lineno} {node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for path in MODULES
        for node in ast.walk(parse(path))
        if isinstance(node, Function) and node.end_lineno and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]
    assert not long, f"over {FUNCTION_LINES} lines: {long}"


def test_modules_have_names_that_say_something() -> None:
    assert not [relative(p) for p in MODULES if NAMELESS & {p.stem, *p.relative_to(SOURCE).parts[:-1]}]


def test_every_public_name_has_a_docstring() -> None:
    missing = []
    for path in MODULES:
        tree = parse(path)
        if not ast.get_docstring(tree):
            missing.append(relative(path))
        missing += [
            f"{relative(path)}:{node.lineno} {name}"
            for name, node in public_names(tree.body)
            if not ast.get_docstring(node)
        ]
    assert not missing


@pytest.mark.parametrize("path", PACKAGES, ids=relative)
def test_all_is_the_public_surface(path: Path) -> None:
    """`__all__` is sorted as ruff sorts it, names only what is there, and leaves out nothing that is exported."""
    name = ".".join(path.relative_to(ROOT / "src").parts[:-1])
    exported = {
        alias.asname or alias.name
        for node in parse(path).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mainspring")
        for alias in node.names
    }
    declared = getattr(importlib.import_module(name), "__all__", None)
    if declared is None:
        assert not exported, f"{name} exports {sorted(exported)} without __all__"
        return
    module = importlib.import_module(name)
    assert list(declared) == sorted(declared, key=rank)
    assert not [entry for entry in declared if not hasattr(module, entry)]
    assert {entry for entry in exported if not entry.startswith("_")} <= set(declared)


def rank(name: str) -> tuple[int, str]:
    """CONSTANTS first, then Classes, then the rest."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def test_no_import_cycles() -> None:
    graph = grimp.build_graph("mainspring", cache_dir=None, exclude_type_checking_imports=True)
    order = graphlib.TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    )
    try:
        order.prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_broad_excepts_say_why() -> None:
    silent = []
    for path in MODULES:
        said = comments(path)
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ExceptHandler) and is_broad(node.type):
                first = node.body[0].lineno
                if not any(len(said.get(line, "")) > 12 for line in range(node.lineno, first + 1)):
                    silent.append(f"{relative(path)}:{node.lineno}")
    assert not silent


def is_broad(kind: ast.expr | None) -> bool:
    names = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(name is None or ast.unparse(name) in {"Exception", "BaseException"} for name in names)


def test_exceptions_to_the_rules_say_why() -> None:
    silent = [
        f"{relative(path)}:{line} {comment}"
        for path in EVERYTHING
        for line, comment in comments(path).items()
        if re.search(r"\bnoqa\b|type: ignore|pragma: no cover", comment) and not EXPLAINED.search(comment)
        if path != Path(__file__)
    ]
    assert not silent


def test_sql_is_written_where_it_belongs() -> None:
    """Only the store, and what is called `queries` or `tables`, holds statements or uses a driver of a database."""
    astray = []
    for path in MODULES:
        if SQL_MODULES & {path.stem, path.parent.name} or path.relative_to(SOURCE).parts[0] == "store":
            continue
        tree = parse(path)
        typing_only = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value):
                astray.append(f"{relative(path)}:{node.lineno}")
            if id(node) in typing_only or not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            modules = (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
            if {m.partition(".")[0] for m in modules} & {"sqlalchemy", "sqlite3", "psycopg", "alembic"}:
                astray.append(f"{relative(path)}:{node.lineno}")
    assert not astray


def test_nothing_of_this_machine_is_in_the_repository() -> None:
    """No home folder or workplace path, no package index address, in any text that is published."""
    homes, index = "root|work|home/[a-z]", "index.url|://[a-z0-9.-]+/simple"
    suspects = re.compile(rf"(?:^|[\s\"'(=])/(?:{homes})/|(?:{index})\b")
    texts = [p for p in ROOT.glob("*") if p.name != ".git" and p.suffix in {".md", ".toml", ".txt", ""}]
    texts += [p for folder in ("docs", "bench", "src", "tests", ".ci") for p in (ROOT / folder).rglob("*")]
    found = [
        f"{relative(path)}:{number}"
        for path in texts
        if path.is_file() and path.suffix in {".md", ".toml", ".txt", ".py", ".html", ".js", ".css", ""}
        if "results" not in path.parts and "__pycache__" not in path.parts and path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if suspects.search(line)
    ]
    assert not found


def test_constraints_are_names_and_versions_and_cover_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert not [line for line in lines if not re.fullmatch(r"[a-z0-9._-]+==[\w.+]+( ; .+)?", line)]
    pinned = {line.partition("==")[0] for line in lines}

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    names = {re.split(r"[\[<>=!~ ;]", requirement)[0].lower() for requirement in wanted} - {"mainspring"}
    assert names <= pinned, f"run uv pip compile again; not pinned: {sorted(names - pinned)}"
