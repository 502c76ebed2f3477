"""Print the revisions as SQL: `python -m mainspring.store.migrations`."""

from __future__ import annotations

from pathlib import Path

from mainspring.store.upgrade import render

for dialect in ("sqlite", "postgresql"):
    Path(__file__).with_name(f"{dialect}.sql").write_text(render(dialect), "utf-8")
