"""The model in the box behind real clients; skipped where it has not been pulled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.support.conversations import chat_text, user
from tests.support.server import RunningServer, running

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = Path(os.environ.get("LOCAL_MODELS") or Path(__file__).parents[2] / ".mainspring" / "models")


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    if not any(MODELS.glob("**/*.gguf")):
        pytest.skip("the small model is not there: `mainspring local pull small` fetches it")
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed")
    config = f'[local]\ndirectory = "{MODELS}"\n[defaults.timeouts]\nfirst_token = 120\n'
    with running(RunningServer(tmp_path_factory.mktemp("boxed"), config)) as server:
        yield server


def test_openai_client(boxed: RunningServer) -> None:
    with openai.OpenAI(
        base_url=f"{boxed.url}/v1", api_key=boxed.create_key(), max_retries=0, timeout=180
    ) as client:
        ask: Any = {
            "model": "local/small",
            "messages": user("Say hello."),
            "max_tokens": 12,
            "temperature": 0,
        }
        whole = client.chat.completions.with_raw_response.create(**ask)
        answer = whole.parse()
        assert answer.choices[0].message.content
        assert answer.usage is not None
        assert 0 < answer.usage.completion_tokens <= 12
        row = boxed.row(whole.headers["x-request-id"])
        assert (row["provider"], row["output_tokens"]) == ("local", answer.usage.completion_tokens)
        assert row["usage_source"] == "provider"
        streamed = chat_text(client.chat.completions.create(**ask, stream=True))
        assert streamed == answer.choices[0].message.content


def test_anthropic_client(boxed: RunningServer) -> None:
    with (
        anthropic.Anthropic(
            base_url=boxed.url, api_key=boxed.create_key(), max_retries=0, timeout=180
        ) as client,
        client.messages.stream(model="local/small", max_tokens=12, messages=user("Say hello.")) as stream,
    ):
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert text
    assert answer.stop_reason in {"end_turn", "max_tokens"}
    assert 0 < answer.usage.output_tokens <= 12
