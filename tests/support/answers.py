"""Rows of the ledger for tests."""

from __future__ import annotations

from typing import Any

from mainspring.base.clock import now_us
from mainspring.base.ids import id_at, new_id
from mainspring.ledger import Attempt, Inference


def answer(*, ago_seconds: float = 0, **fields: Any) -> Inference:
    """An answer that came some seconds ago (now, unless said otherwise), with any field replaced."""
    received = now_us() - round(ago_seconds * 1_000_000)
    given: dict[str, Any] = {
        "id": id_at(received) if ago_seconds else new_id(),
        "received_us": received,
        "first_byte_us": received + 40_000,
        "done_us": received + 100_000,
        "tenant": "acme",
        "key_id": "key-1",
        "dialect": "openai.chat",
        "route": "default",
        "requested_model": "default",
        "provider": "openai",
        "model": "gpt-5-mini",
        "attempts": [
            Attempt(provider="openai", model="gpt-5-mini", started_us=received, ended_us=received + 99_000)
        ],
        "status": 200,
        "finish_reason": "stop",
        "input_tokens": 10,
        "output_tokens": 20,
        "usage_source": "provider",
        "cost_nusd": 1_500,
        "config_hash": "0123456789abcdef",
    }
    return Inference(**{**given, **fields})
