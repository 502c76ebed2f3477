"""The models in the box for tests: fetched once into a folder outside the repository, and used by every run after that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mainspring.base.errors import LocalModelError
from mainspring.providers.local.weights import pull

#: Names the folder; by default one in the user's cache.
VARIABLE = "LOCAL_MODELS_DIR"


def models_directory() -> Path:
    given = os.environ.get(VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "mainspring-tests" / "models"


def _fetched(name: str) -> Path:
    try:
        pull(name, models_directory(), lambda *_: None)
    except LocalModelError as error:
        pytest.skip(f"the local model {name} is not to be had: {error}")
    return models_directory()


@pytest.fixture(scope="session")
def small_model() -> Path:
    """The folder, with local/small in it."""
    return _fetched("small")


@pytest.fixture(scope="session")
def embedding_model() -> Path:
    """The folder, with local/embed in it."""
    return _fetched("embed")
