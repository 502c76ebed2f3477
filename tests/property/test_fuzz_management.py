"""schemathesis over the OpenAPI document of the management API: what it promises is what it does, and never a 500."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside its dependencies are not ours
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import RunningServer

#: More examples an operation when there is time: FUZZ_EXAMPLES=500 pytest tests/property
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
    derandomize="FUZZ_EXAMPLES" not in os.environ,
)


@pytest.mark.parametrize("role", ["admin", "member", "nobody"])
def test_management(start_server: Callable[..., RunningServer], role: str) -> None:
    # A server of its own: the keys that are made and revoked here are nobody else's.
    server = start_server()
    key = {"admin": server.admin_key, "member": server.create_key(), "nobody": ""}[role]
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request_id = _an_answer(server)
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    failures: list[str] = []
    operations: list[Any] = [operation.ok() for operation in schema.get_all_operations()]  # type: ignore[union-attr] # an operation that is no valid OpenAPI fails the test
    assert len(operations) >= 8
    for operation in operations:
        if not operation.path.endswith(("/tail", "/events")):  # a live stream has no end
            failures += _try(operation, headers, request_id)
    assert not failures, "\n\n".join(failures)
    assert "Traceback" not in server.log()
    assert server.client.get("/readyz").status_code == 200


def _try(operation: Any, headers: dict[str, str], request_id: str) -> list[str]:
    """Fuzz one operation; returns what was found."""

    @fuzz
    @given(case=operation.as_strategy())
    def run(case: Any) -> None:
        if "request_id" in (case.body if isinstance(case.body, dict) else {}) and len(str(case.body)) % 2:
            case.body["request_id"] = request_id  # so that some feedback finds its answer
        answer = case.call(headers=headers, timeout=30)
        assert answer.status_code < 500, answer.text
        if not headers and operation.path.startswith("/api/"):
            assert answer.status_code in {401, 405, 422}, answer.text
        # Some rules no schema can say ("not in the past"), so what fits the schema may be refused all the same.
        case.validate_response(answer, headers=headers, excluded_checks=[positive_data_acceptance])
        if answer.status_code >= 400 and operation.path.startswith("/api/"):
            assert answer.headers["content-type"][0].startswith("application/problem+json")
            assert set(answer.json()) >= {"title", "status"}

    try:
        run()
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - whatever it is, the next operation is tried too
        return [f"{operation.method.upper()} {operation.path}: {type(error).__name__}: {error}"]
    return []


def _an_answer(server: RunningServer) -> str:
    """The id of an answer of a model, for the operations that need one."""
    body = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}
    answer = server.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-request-id"])
