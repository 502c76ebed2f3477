"""Alembic, called when a schema exists and is behind, and to print the whole schema as SQL.

Imported only then: Alembic and SQLAlchemy take longer to load than a server takes to start.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

if TYPE_CHECKING:
    from mainspring.store.types import Dialect


def _config(**attributes: Any) -> Config:
    config = Config(output_buffer=attributes.pop("buffer", None))
    config.set_main_option("script_location", "mainspring.store:migrations")
    config.attributes.update(attributes)
    return config


def head() -> str | None:
    """The newest revision that this release knows."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def known(revision: str) -> bool:
    """Whether a revision is one of ours."""
    return any(
        script.revision == revision for script in ScriptDirectory.from_config(_config()).walk_revisions()
    )


def upgrade(driver_connection: Any, dialect: Dialect) -> None:
    """Run the missing revisions on a driver's connection, inside the transaction that is open on it.

    The caller commits or rolls back.
    """
    url, options = "sqlite://", {}
    if dialect == "postgresql":
        # Looking for the hstore type wants a connection, not something that acts like one; we have no such columns.
        url, options = "postgresql+psycopg://", {"use_native_hstore": False}
    engine = create_engine(url, creator=lambda: _Held(driver_connection), poolclass=StaticPool, **options)
    with engine.connect() as connection:
        command.upgrade(_config(connection=connection), "head")


def render(dialect: Dialect) -> str:
    """All revisions as SQL statements, each ending in a semicolon and a blank line."""
    buffer = io.StringIO()
    command.upgrade(_config(dialect=dialect, buffer=buffer), "head", sql=True)
    return buffer.getvalue()


class _Held:
    """A driver's connection whose transaction SQLAlchemy must leave alone."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def commit(self) -> None:
        """Left to the caller."""

    def rollback(self) -> None:
        """Left to the caller."""

    def close(self) -> None:
        """Left to the caller."""
