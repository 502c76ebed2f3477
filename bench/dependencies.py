"""What each direct dependency weighs: version, licence, size on disk and time to import, as a Markdown table.

Run: `.venv/bin/python bench/dependencies.py [--write]`, where every extra is installed; `--write` puts the tables into
docs/decisions/dependencies.md. Import time is CPU time, the fastest of five fresh interpreters, less an empty one,
and includes what the package imports in turn; size is the package alone, without what it depends on.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import report

ROOT = Path(__file__).resolve().parent.parent
#: Where the import name is not the package's with underscores.
IMPORTS = {
    "import-linter": "importlinter",
    "psycopg-binary": "psycopg",
    "pytest-xdist": "xdist",
    "python-multipart": "python_multipart",
    "sentry-sdk": "sentry_sdk",
}
RUNS = 5
PAGE = ROOT / "docs/decisions/dependencies.md"


def requirement_names(lines: list[str]) -> list[str]:
    return [re.split(r"[\[<>=!~ ;]", line)[0] for line in lines if not line.startswith("mainspring")]


def seconds(code: str) -> float:
    """CPU time of the fastest of some fresh interpreters."""
    best = float("inf")
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def licence(package: metadata.Distribution) -> str:
    """The licence expression; older packages only have a classifier or a free text."""
    meta = package.metadata
    if expression := meta.get("License-Expression"):
        return expression
    classifiers = [
        c.rpartition(" :: ")[2] for c in meta.get_all("Classifier", []) if c.startswith("License ::")
    ]
    return ", ".join(classifiers) or (meta.get("License") or "not stated").splitlines()[0][:40]


def size_mb(package: metadata.Distribution) -> float:
    files = [Path(str(package.locate_file(file))) for file in package.files or []]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def row(name: str, nothing: float) -> str:
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return f"| {name} | not installed | | | |"
    module = IMPORTS.get(name, name.replace("-", "_"))
    try:
        cost = f"{max(0.0, seconds(f'import {module}') - nothing) * 1e3:.0f}"
    except subprocess.CalledProcessError:
        cost = "not imported"
    return f"| {name} | {package.version} | {licence(package)} | {size_mb(package):.1f} | {cost} |"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {"base": project["dependencies"], **project["optional-dependencies"]}
    nothing = seconds("pass")
    heading = ["", "| package | version | licence | MB on disk | import ms |", "|---|---|---|--:|--:|"]
    text: list[str] = []
    for group, lines in groups.items():
        text += ["", f"## {group}", *heading]
        text += [row(name, nothing) for name in requirement_names(lines)]
    print("\n".join(text))
    if "--write" in sys.argv[1:]:
        report.between("dependencies", "\n".join([*text, ""]), PAGE)


if __name__ == "__main__":
    main()
