from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.base.errors import ContextLengthExceeded, InvalidRequest, LocalModelError
from mainspring.providers.local import embeddings
from mainspring.providers.local.catalog import IN_THE_BOX


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def encoder(embedding_model: Path) -> embeddings.MiniLM:
    return embeddings.MiniLM(IN_THE_BOX["embed"].path(embedding_model), threads=1)


def answer(encoder: embeddings.MiniLM, **fields: Any) -> dict[str, Any]:
    asked = embeddings.read_request(json.dumps({"model": "embed", **fields}).encode())
    return json.loads(embeddings.answer(asked, encoder, "embed", never))  # type: ignore[no-any-return] # it is an object


def test_the_vocabulary_is_the_one_of_the_model() -> None:
    words = (Path(embeddings.__file__).with_name("data") / "vocab.txt").read_text("utf-8").split("\n")
    assert len(words) == 30_523  # the last line ends with a line feed
    assert [words[index] for index in (0, 100, 101, 102, 7592)] == [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "hello",
    ]


def test_vectors_are_those_that_are_known_for_the_model(encoder: embeddings.MiniLM) -> None:
    vectors, tokens = encoder.encode(
        ["A man is eating food.", "A man is eating a piece of bread.", "A monkey is playing drums."], never
    )
    assert vectors.shape == (3, 384)
    assert tokens == 8 + 11 + 8
    assert (vectors * vectors).sum(1) == pytest.approx([1, 1, 1], abs=1e-5)
    # The full model says 0.755 and 0.026; eight-bit weights differ in the second digit.
    assert float(vectors[0] @ vectors[1]) == pytest.approx(0.755, abs=0.03)
    assert float(vectors[0] @ vectors[2]) == pytest.approx(0.026, abs=0.03)


def test_batching_does_not_change_a_vector(encoder: embeddings.MiniLM) -> None:
    texts = ["short", "a somewhat longer text " * 20, "middle " * 30, *["filler"] * 20]
    together, _ = encoder.encode(texts, never)
    for index in range(3):
        alone, _ = encoder.encode([texts[index]], never)
        # Activations are quantised for each batch as a whole.
        assert float(alone[0] @ together[index]) > 0.98


def test_the_answer_has_the_form_of_openai(encoder: embeddings.MiniLM) -> None:
    said = answer(encoder, input=["hello world", "bye"])
    assert said["object"] == "list"
    assert said["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [item["index"] for item in said["data"]] == [0, 1]
    coded = answer(encoder, input="hello world", encoding_format="base64", dimensions=384)
    vector = struct.unpack("<384f", base64.b64decode(coded["data"][0]["embedding"]))
    assert vector == pytest.approx(said["data"][0]["embedding"], abs=0.05)


def test_a_text_that_is_too_long_is_refused_with_the_limit(encoder: embeddings.MiniLM) -> None:
    answer(encoder, input="word " * 510)
    with pytest.raises(ContextLengthExceeded, match=r"512 tokens; input 1 has 513") as caught:
        answer(encoder, input=["ok", "word " * 511])
    assert caught.value.code == "context_length_exceeded"


def test_other_dimensions_are_refused(encoder: embeddings.MiniLM) -> None:
    with pytest.raises(InvalidRequest, match="384 dimensions"):
        answer(encoder, input="x", dimensions=256)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "x", "dimensions": "many"}, "dimensions"),
    ],
)
def test_wrong_requests_name_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        embeddings.read_request(json.dumps(fields).encode())
    assert caught.value.param == param


@given(st.lists(st.integers(1, 600), max_size=200))
def test_batches_keep_to_their_budget_and_lose_nothing(lengths: list[int]) -> None:
    found = embeddings.batches(lengths, 2048)
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= 2048


def test_a_file_that_is_no_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(LocalModelError, match="cannot be loaded"):
        embeddings.MiniLM(tmp_path / "model.onnx", threads=1)
