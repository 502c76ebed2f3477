"""Real clients that talk to the shared server with an ordinary member's key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anthropic
import httpx2
import openai
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.server import RunningServer


@pytest.fixture(scope="session")
def oai(server: RunningServer, member_key: str) -> Iterator[openai.OpenAI]:
    """OpenAI's client; it does not retry, so that every error is seen."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=member_key, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def claude(server: RunningServer, member_key: str) -> Iterator[anthropic.Anthropic]:
    """Anthropic's client; it does not retry, so that every error is seen."""
    with anthropic.Anthropic(base_url=server.url, api_key=member_key, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
async def async_oai(server: RunningServer, member_key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's asynchronous client."""
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=member_key, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_claude(server: RunningServer, member_key: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's asynchronous client."""
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key=member_key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def http(server: RunningServer, member_key: str) -> Iterator[httpx2.Client]:
    """A plain HTTP client with the member's key, for what no client library shows."""
    headers = {"authorization": f"Bearer {member_key}"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=30, trust_env=False) as client:
        yield client
