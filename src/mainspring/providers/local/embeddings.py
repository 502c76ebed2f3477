"""Sentence embeddings: all-MiniLM-L6-v2 on ONNX Runtime, mean pooling, unit length.

The work is done in a worker thread, in batches of bounded size: ONNX Runtime lets go of Python's lock while it computes.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mainspring.base.errors import ContextLengthExceeded, InvalidRequest, LocalModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

DIMENSIONS = 384
MOST_TOKENS = 512
#: Inputs of one request, as OpenAI has it.
MOST_INPUTS = 2048
#: Tokens of one batch, padding included; memory grows with it, speed does not.
_BATCH_TOKENS = 2048
_VOCABULARY = Path(__file__).with_name("data") / "vocab.txt"


class Asked(msgspec.Struct):
    """A checked request for embeddings."""

    texts: list[str]
    base64: bool
    dimensions: int | None


class Encoder(Protocol):
    """What turns texts into vectors. Its methods block: they are called in a worker thread."""

    def count(self, texts: list[str]) -> list[int]:
        """Tokens of each text, special ones included."""
        ...

    def encode(self, texts: list[str], stopped: Callable[[], bool]) -> tuple[Vectors, int]:
        """Vectors of unit length, one row for each text, and how many tokens were read.

        Args:
            texts: any number of them.
            stopped: asked between batches; once it is true the rest may be left out.

        Raises:
            ContextLengthExceeded: a text is too long.
        """
        ...


def read_request(body: bytes) -> Asked:
    """Check a request.

    Raises:
        InvalidRequest: a field is wrong, or asks for what the local models cannot do.
    """
    try:
        request: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.", remedy="Send one JSON object.") from None
    if not isinstance(request, dict):
        raise InvalidRequest("The body is not a JSON object.", remedy="Send one JSON object.")
    given = request.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise InvalidRequest("`input` is not a text or a list of texts.", param="input")
    if any(isinstance(text, int | list) for text in texts):
        raise InvalidRequest(
            "`input` holds token ids; those of OpenAI's models mean nothing to a local one.",
            remedy="Send texts (in LangChain: check_embedding_ctx_length=False).",
            param="input",
        )
    if not all(isinstance(text, str) and text for text in texts):
        raise InvalidRequest("`input` holds something that is not a text, or an empty one.", param="input")
    if len(texts) > MOST_INPUTS:
        raise InvalidRequest(
            f"`input` holds more than {MOST_INPUTS} texts.", remedy="Send fewer.", param="input"
        )
    form = request.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise InvalidRequest("`encoding_format` is not float or base64.", param="encoding_format")
    dimensions = request.get("dimensions")
    if dimensions is not None and (isinstance(dimensions, bool) or not isinstance(dimensions, int)):
        raise InvalidRequest("`dimensions` is not a whole number.", param="dimensions")
    return Asked(texts, form == "base64", dimensions)


def answer(asked: Asked, encoder: Encoder, model: str, stopped: Callable[[], bool]) -> bytes:
    """The answer in OpenAI's form. Blocks: call it in a worker thread.

    Raises:
        InvalidRequest: a text is too long, or the vectors have another number of dimensions than wanted.
    """
    vectors, tokens = encoder.encode(asked.texts, stopped)
    if asked.dimensions is not None and asked.dimensions != vectors.shape[1]:
        raise InvalidRequest(
            f"{model} has {vectors.shape[1]} dimensions and cannot be cut to {asked.dimensions}.",
            remedy="Leave `dimensions` out.",
            param="dimensions",
        )
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode()
            if asked.base64
            else row.tolist(),
        }
        for index, row in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


class MiniLM:
    """The encoder in the box.

    Args:
        path: the ONNX file.
        threads: that compute.

    Raises:
        LocalModelError: its libraries are not installed, or the file cannot be loaded.
    """

    def __init__(self, path: Path, threads: int) -> None:
        try:
            import onnxruntime  # noqa: PLC0415 - an extra; 0.3 s and 70 MB that a server without embeddings never pays
            import tokenizers  # noqa: PLC0415 - as above
        except ImportError as error:
            raise LocalModelError(
                f"Local embeddings need a library that is not installed: {error.name}.",
                remedy="Install the extra `local`: `.venv/bin/pip install -e '.[local]'` in a clone.",
            ) from error
        self._tokenizer = tokenizers.BertWordPieceTokenizer(str(_VOCABULARY), lowercase=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # re-raised; ONNX Runtime's errors share no base class of their own
            raise LocalModelError(
                f"The embedding model {path.name} cannot be loaded.",
                remedy="Remove the file and run `mainspring local pull embed`.",
            ) from error

    def count(self, texts: list[str]) -> list[int]:
        """Tokens of each text, the two special ones included."""
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch(texts)]

    def encode(self, texts: list[str], stopped: Callable[[], bool]) -> tuple[Vectors, int]:
        """Vectors and tokens; see `Encoder`."""
        import numpy as np  # noqa: PLC0415 - loaded with onnxruntime anyway, and not before

        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        for index, own in enumerate(ids):
            if len(own) > MOST_TOKENS:
                raise ContextLengthExceeded(
                    f"The maximum context length of this model is {MOST_TOKENS} tokens; "
                    f"input {index} has {len(own)}.",
                    remedy="Split the text.",
                    param="input",
                )
        vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        for batch in batches([len(own) for own in ids], _BATCH_TOKENS):
            if stopped():
                break
            vectors[batch] = self._run([ids[index] for index in batch])
        return vectors, sum(map(len, ids))

    def _run(self, ids: list[list[int]]) -> Vectors:
        import numpy as np  # noqa: PLC0415 - see encode

        width = max(map(len, ids))
        tokens = np.zeros((len(ids), width), np.int64)
        mask = np.zeros((len(ids), width), np.int64)
        for row, own in enumerate(ids):
            tokens[row, : len(own)] = own
            mask[row, : len(own)] = 1
        inputs = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
        hidden = self._session.run(["last_hidden_state"], inputs)[0]
        weights = mask[:, :, None].astype(np.float32)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        unit: Vectors = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit


def batches(lengths: list[int], budget: int) -> list[list[int]]:
    """Indices in batches of alike length, each within a budget of tokens when padded to its longest.

    Args:
        lengths: tokens of each text.
        budget: most tokens of a batch; a longer text is a batch of its own.
    """
    found: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Sorted, so the one that is added is the longest.
        if found and lengths[index] * (len(found[-1]) + 1) <= budget:
            found[-1].append(index)
        else:
            found.append([index])
    return found
