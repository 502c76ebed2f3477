"""schemathesis over the OpenAPI document of the management API: what it promises is what it does, and never a 500."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside its dependencies are not ours
    import schemathesis

if TYPE_CHECKING:
    from tests.support.server import RunningServer

#: More examples an operation when there is time: FUZZ_EXAMPLES=500 pytest tests/property
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))


@pytest.fixture(scope="session")
def management(server: RunningServer) -> Any:
    """The document as the server gives it out."""
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("management")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
)
def test_management(case: Any, server: RunningServer) -> None:
    if case.operation.path.endswith(("/events", "/tail")):
        pytest.skip("a live stream has no end")
    answer = case.call(headers={"authorization": f"Bearer {server.admin_key}"}, timeout=30)
    case.validate_response(answer)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"][0].startswith("application/problem+json")
        assert set(answer.json()) >= {"title", "status"}
