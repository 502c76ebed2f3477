"""The documentation as data: its pages, fenced blocks, links and the commands that it shows."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
_FENCE = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: `sh` and `python` are run by tests, `toml` is loaded, `console` shows what is not run."""

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*kinds: str, pages: list[Path] | None = None) -> list[Block]:
    """All blocks of some kinds, page by page."""
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match[2], match[3])
        for page in (PAGES if pages is None else pages)
        for text in [page.read_text("utf-8")]
        for match in _FENCE.finditer(text)
        if match[2] in kinds
    ]


def without_blocks(text: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def links(page: Path) -> list[str]:
    """The targets of a page's links."""
    return _LINK.findall(without_blocks(page.read_text("utf-8")))


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may say, as forges make it."""
    found = set()
    for heading in _HEADING.findall(without_blocks(page.read_text("utf-8"))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


def shown_commands() -> list[tuple[str, list[str]]]:
    """Every `mainspring ...` command line in a block, with where it stands."""
    line = re.compile(r"(?:^|[\s/$(=])mainspring +((?:[a-z]|--)[^\n|#]*)", re.MULTILINE)
    return [
        (str(block), shlex.split(match[1].rstrip(")`")))
        for block in blocks("sh", "console", "ini", "dockerfile")
        for match in line.finditer(block.text.replace("\\\n", " "))
    ]
