"""Embedding models of a hub, through fastembed: for those who can reach one and want another model than MiniLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.base.errors import LocalModelError, NotFound
from mainspring.providers.local.catalog import HUB_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mainspring.providers.local.embeddings import Vectors

_BATCH = 16


class HubEncoder:
    """A model that fastembed knows, fetched on first use and kept.

    Longer texts than the model takes are cut by fastembed.

    Args:
        name: with the prefix: `hub:BAAI/bge-small-en-v1.5`.
        directory: where fetched models are kept.
        threads: that compute.

    Raises:
        LocalModelError: fastembed is not installed, or the model cannot be fetched.
        NotFound: fastembed knows no such model.
    """

    def __init__(self, name: str, directory: Path, threads: int) -> None:
        try:
            import fastembed  # noqa: PLC0415 - the extra `hub`
        except ImportError as error:
            raise LocalModelError(
                "Models of a hub need fastembed, which is not installed.",
                remedy="Install the extra `hub`: `.venv/bin/pip install -e '.[hub]'` in a clone.",
            ) from error
        model = name.removeprefix(HUB_PREFIX)
        known = {
            entry["model"].lower(): entry["model"]
            for entry in fastembed.TextEmbedding.list_supported_models()
        }
        if model.lower() not in known:
            raise NotFound(
                f"fastembed knows no embedding model {model!r}.",
                remedy="`fastembed.TextEmbedding.list_supported_models()` lists them.",
                param="model",
            )
        try:
            self._model = fastembed.TextEmbedding(
                known[model.lower()], cache_dir=str(directory / "hub"), threads=threads
            )
        except Exception as error:  # fetching fails in the ways of several HTTP libraries
            raise LocalModelError(
                f"The model {model} could not be fetched from its hub or loaded ({type(error).__name__}).",
                remedy="Check the network, or use local/embed, which needs none.",
            ) from error

    def count(self, texts: list[str]) -> list[int]:
        """Tokens of each text."""
        return [self._model.token_count([text]) for text in texts]

    def encode(self, texts: list[str], stopped: Callable[[], bool]) -> tuple[Vectors, int]:
        """Vectors and tokens; see `embeddings.Encoder`."""
        import numpy as np  # noqa: PLC0415 - loaded with fastembed anyway, and not before

        rows: list[Vectors] = []
        for start in range(0, len(texts), _BATCH):
            if stopped():
                break
            rows += self._model.embed(texts[start : start + _BATCH], batch_size=_BATCH)
        vectors = np.asarray(rows, np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors, self._model.token_count(texts)
