"""The gateways that `governing.py` measures: how each is started, what limits it has, and how to see that it keeps them.

Rivals are taken from `$BENCH_PEERS`, where the comparison harness installs them; those that are not there are skipped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scenarios

if TYPE_CHECKING:
    from collections.abc import Callable

BENCH = Path(__file__).resolve().parent
PEERS = Path(os.environ.get("BENCH_PEERS", Path(tempfile.gettempdir()) / "bench-peers"))
YARDSTICK, OURS = "bare proxy: uvicorn, aiohttp, no framework", "Mainspring"
FIVE = "requests of the user, the key and the {tenant}; tokens and concurrency of the key"
#: Dollars per million tokens in and out, the same everywhere.
PRICES = (0.25, 2.0)


@dataclasses.dataclass
class Caller:
    """Who asks: what stands in the head and in the body of a request."""

    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass
class Proof:
    """A limit that is tight, and who runs into it with `asks` requests, at once or after each other."""

    limit: str
    caller: Caller
    asks: int = 8
    together: bool = False
    pause: float = 0.0


@dataclasses.dataclass
class Gateway:
    """One side of the comparison.

    Attributes:
        name: a row of the table.
        limits: what it keeps, in words.
        command: starts it; `{port}`, `{folder}`, `{upstream}` and `{redis}` are filled in here and in `files`.
        files: what is written into its folder before.
        caller: makes its keys once it answers, and tells who asks when it is measured.
        connections: how many callers ask at once.
        before: the row that it is compared with: itself without limits.
        redis: it needs a server of its own.
        proofs: make callers under tight limits, in the same process or, if `tight` is set, in one with that text in place
            of others in its files.
        tight: (text, its replacement) pairs.
        path: where it takes chats.
        tells: under limits, the heads of its answers say what is left.
        rival: measured in fewer rounds.
        lacking: why it cannot be measured here.
    """

    name: str
    limits: str
    command: str
    files: dict[str, str]
    caller: Callable[[int], Caller]
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    connections: int = 64
    before: str = ""
    redis: bool = False
    proofs: Callable[[int], list[Proof]] | None = None
    tight: tuple[tuple[str, str], ...] = ()
    path: str = "/v1/chat/completions"
    tells: bool = True
    rival: bool = False
    lacking: str = ""


def body(model: str, **more: Any) -> bytes:
    return json.dumps(json.loads(scenarios.request_body("", 1024, model)) | more).encode()


def made(port: int, path: str, headers: dict[str, str], document: dict[str, Any]) -> dict[str, Any]:
    """POST of a management API."""
    status, data = scenarios.Target(port, BENCH, headers).post(path, json.dumps(document).encode())
    if status not in (200, 201):
        raise SystemExit(f"{path}: {status} {data[:300]!r}")
    return dict(json.loads(data))


# ---- the yardstick -----------------------------------------------------------------------------
def bare(harness: Path | None) -> Gateway:
    python = PEERS / "venv-bare/bin/python"
    return Gateway(
        name=YARDSTICK,
        limits="none: no key, no record",
        command=f"{python} -m uvicorn asgi_client:app --host 127.0.0.1 --port {{port}} --no-access-log",
        files={},
        env={"PYTHONPATH": f"{harness}/apps", "CLIENT": "aiohttp", "UPSTREAM": "{upstream}"},
        caller=lambda _port: Caller({"authorization": "Bearer none"}, body("bench")),
        lacking=""
        if harness and python.exists()
        else "the harness's `asgi-aiohttp-uvicorn` is not installed",
    )


# ---- ours --------------------------------------------------------------------------------------
CONFIG = """
[storage]
database = "sqlite:///{folder}/mainspring.db"
blobs = "file://{folder}/blobs"
shared = "SHARED"
shared_timeout_ms = 1000  # the machine may be busy: what Redis costs is measured, not how long it takes

[providers.bench]
api = "openai"
base_url = "{upstream}/v1"
api_keys = ["bench-key"]

[models."bench/bench"]
input_usd_per_mtok = 0.25
output_usd_per_mtok = 2.0

[limits]
"""
NO_LIMITS = "rps_per_user = 0\n"
WIDE_LIMITS = "rps_per_user = 10000000\nrps_per_tenant = 10000000\n"
ADMIN = {"authorization": f"Bearer {scenarios.ADMIN_KEY}"}


def own_key(port: int, tenant: str, **settings: Any) -> dict[str, str]:
    secret = made(port, "/api/v1/keys", ADMIN, {"name": tenant, "tenant": tenant, **settings})["key"]
    return {"authorization": f"Bearer {secret}"}


def governed(port: int) -> Caller:
    key = own_key(
        port,
        "bench",
        rps=10_000_000,
        tokens_per_minute=1_000_000_000,
        concurrency=100_000,
        budget={"usd": 1_000_000, "window": "day"},
    )
    return Caller(key, body("bench/bench", user="ann"))


def budgeted(port: int) -> Caller:
    return Caller(
        own_key(port, "bench", budget={"usd": 1_000_000, "window": "day"}), body("bench/bench", user="ann")
    )


def usual_proofs(port: int) -> list[Proof]:
    return [
        proof for proof in own_proofs(port) if proof.limit in {"requests of the user", "dollars of the key"}
    ]


def own_proofs(port: int) -> list[Proof]:
    asked = body("bench/bench")
    slow = body("bench/bench-g20000", stream=True)
    return [
        Proof(
            "requests of the user", Caller(own_key(port, "a"), body("bench/bench", user="ann")), together=True
        ),
        Proof("requests of the key", Caller(own_key(port, "b", rps=3), asked), together=True),
        Proof("requests of the tenant", Caller(own_key(port, "c"), asked), 12, together=True),
        Proof("tokens of the key", Caller(own_key(port, "d", tokens_per_minute=1200), asked)),
        Proof("concurrency of the key", Caller(own_key(port, "e", concurrency=1), slow), 2, together=True),
        Proof(
            "dollars of the key", Caller(own_key(port, "f", budget={"usd": 0.0018, "window": "day"}), asked)
        ),
    ]


def ours() -> list[Gateway]:
    mainspring = f"{BENCH.parent}/.venv/bin/mainspring serve --config {{folder}}/bench.toml --port {{port}}"
    env = {"MAINSPRING_ADMIN_KEY": scenarios.ADMIN_KEY}

    def variant(name: str, shared: str, section: str, **more: Any) -> Gateway:
        config = CONFIG.replace("SHARED", shared) + section
        return Gateway(name, command=mainspring, files={"bench.toml": config}, env=env, **more)

    keeps: dict[str, Any] = {
        "caller": governed,
        "before": OURS,
        "proofs": own_proofs,
        "tight": (
            ("rps_per_user = 10000000", "rps_per_user = 3"),
            ("rps_per_tenant = 10000000", "rps_per_tenant = 6"),
        ),
    }
    on = f"{FIVE.format(tenant='tenant')}; dollars of the key"
    return [
        variant(
            OURS,
            "memory://",
            NO_LIMITS,
            limits="none: key, price, durable row, payload",
            caller=lambda port: Caller(own_key(port, "bench"), body("bench/bench", user="ann")),
        ),
        variant(
            "Mainspring, one limit and one budget, in memory",
            "memory://",
            "rps_per_user = 10000000\n",
            limits="requests of the user, as by default; dollars of the key",
            **{**keeps, "caller": budgeted, "proofs": usual_proofs, "tight": keeps["tight"][:1]},
        ),
        variant("Mainspring, governed, in memory", "memory://", WIDE_LIMITS, limits=on, **keeps),
        variant("Mainspring, governed, Redis", "{redis}", WIDE_LIMITS, limits=on, redis=True, **keeps),
    ]


# ---- LiteLLM -----------------------------------------------------------------------------------
LITELLM = """
model_list:
  - model_name: bench
    litellm_params: {model: openai/bench, api_base: "{upstream}/v1", api_key: none, DEAR_ENOUGH}
"""
LITELLM_GOVERNED = """
  - model_name: poor
    litellm_params: {model: openai/bench-p, api_base: "{upstream}/v1", api_key: none, input_cost_per_token: 0.00000025,
      output_cost_per_token: 0.000002, max_budget: 0.0009, budget_duration: 1d}
  - model_name: slow
    litellm_params: {model: openai/bench-g20000, api_base: "{upstream}/v1", api_key: none}
"""
LITELLM_PRICES = "input_cost_per_token: 0.00000025, output_cost_per_token: 0.000002"
LITELLM_MASTER = "sk-bench-0123456789abcdef0123456789abcdef"
LITELLM_SETTINGS = f"general_settings:\n  master_key: {LITELLM_MASTER}\n"
LITELLM_REDIS = '  coordination_redis: {url: "{redis}"}\nrouter_settings: {redis_host: 127.0.0.1, redis_port: "{redis_port}"}\n'


def litellm_proofs(_port: int) -> list[Proof]:
    def caller(key: str, model: str = "bench", **more: Any) -> Caller:
        return Caller({"authorization": f"Bearer {key}"}, body(model, **more))

    return [
        Proof("requests of the user", caller("sk-user")),
        Proof("requests of the key", caller("sk-key")),
        Proof("requests of the team", caller("sk-tenant")),
        Proof("tokens of the key", caller("sk-tokens"), pause=0.3),
        Proof("concurrency of the key", caller("sk-concurrency", "slow", stream=True), 2, together=True),
        Proof("dollars of the deployment", caller("sk-wide", "poor"), pause=0.3),
    ]


def litellm() -> list[Gateway]:
    program = PEERS / "venv-litellm/bin/litellm"
    version = version_of(PEERS / "venv-litellm", "litellm")
    shared: dict[str, Any] = {
        "command": f"{program} --config {{folder}}/litellm.yaml --host 127.0.0.1 --port {{port}} --num_workers 1",
        "env": {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        "rival": True,
        "lacking": "" if program.exists() else "not installed",
    }
    keys = {"litellm_keys.py": (BENCH / "litellm_keys.py").read_text()}
    budget = f"{LITELLM_PRICES}, max_budget: 1000000, budget_duration: 1d"
    models = LITELLM.replace("DEAR_ENOUGH", budget) + LITELLM_GOVERNED
    settings = f"{LITELLM_SETTINGS}  custom_auth: litellm_keys.look_up\n"
    keeps: dict[str, Any] = {
        "limits": f"{FIVE.format(tenant='team')}; dollars of the deployment",
        "caller": lambda _port: Caller({"authorization": "Bearer sk-wide"}, body("bench", user="ann")),
        "before": f"LiteLLM {version}",
        "proofs": litellm_proofs,
    }
    return [
        Gateway(
            f"LiteLLM {version}",
            "none: master key, price; no database, no record",
            files={"litellm.yaml": LITELLM.replace("DEAR_ENOUGH", LITELLM_PRICES) + LITELLM_SETTINGS},
            caller=lambda _port: Caller({"authorization": f"Bearer {LITELLM_MASTER}"}, body("bench")),
            **shared,
        ),
        Gateway(
            f"LiteLLM {version}, governed, in memory",
            files={"litellm.yaml": models + settings, **keys},
            **keeps,
            **shared,
        ),
        Gateway(
            f"LiteLLM {version}, governed, Redis",
            files={"litellm.yaml": models + settings + LITELLM_REDIS, **keys},
            redis=True,
            **keeps,
            **shared,
        ),
    ]


# ---- any-llm-gateway ---------------------------------------------------------------------------
ANY_LLM = """
database_url: "sqlite:///{folder}/any-llm.db"
host: 127.0.0.1
port: {port}
master_key: sk-bench
providers:
  openai: {api_key: none, api_base: "{upstream}/v1"}
pricing:
  "openai:bench": {input_price_per_million: 0.25, output_price_per_million: 2.0}
"""
ANY_LLM_ADMIN = {"X-AnyLLM-Key": "Bearer sk-bench"}


def any_llm_caller(port: int, user: str = "", usd: float = 0) -> Caller:
    key: dict[str, Any] = {"key_name": "bench"}
    if user:
        budget = made(
            port, "/v1/budgets", ANY_LLM_ADMIN, {"max_budget": usd}
        )  # with a window it fails on SQLite
        made(port, "/v1/users", ANY_LLM_ADMIN, {"user_id": user, "budget_id": budget["budget_id"]})
        key["user_id"] = user
    secret = made(port, "/v1/keys", ANY_LLM_ADMIN, key)["key"]
    more = {"user": user} if user else {}
    return Caller({"X-AnyLLM-Key": f"Bearer {secret}"}, body("openai:bench", **more))


def any_llm() -> list[Gateway]:
    program = PEERS / "venv-anyllm-gw/bin/any-llm-gateway"
    version = version_of(PEERS / "venv-anyllm-gw", "any-llm-sdk")
    shared: dict[str, Any] = {
        "command": f"{program} serve --config {{folder}}/any-llm.yaml",
        "connections": 8,
        "rival": True,
        "lacking": "" if program.exists() else "not installed",
    }
    rate = "rate_limit_rpm: 1000000000\n"
    return [
        Gateway(
            f"any-llm-gateway {version}",
            "none: key, price, usage row in SQLite",
            files={"any-llm.yaml": ANY_LLM},
            caller=any_llm_caller,
            **shared,
        ),
        Gateway(
            f"any-llm-gateway {version}, governed, in memory",
            "requests and dollars of the user",
            files={"any-llm.yaml": ANY_LLM + rate},
            caller=lambda port: any_llm_caller(port, "ann", 1_000_000),
            before=f"any-llm-gateway {version}",
            proofs=lambda port: [
                Proof("requests of the user", any_llm_caller(port, "bea", 1_000_000)),
                Proof("dollars of the user", any_llm_caller(port, "poor", 0.0005), asks=5),
            ],
            tight=(("1000000000", "5"),),
            **shared,
        ),
    ]


# ---- MLflow's gateway --------------------------------------------------------------------------
MLFLOW = """
endpoints:
  - name: bench
    endpoint_type: llm/v1/chat
    model: {provider: openai, name: bench, config: {openai_api_key: none, openai_api_base: "{upstream}/v1"}}
"""


def mlflow() -> list[Gateway]:
    program = PEERS / "venv-mlflow/bin/mlflow"
    version = version_of(PEERS / "venv-mlflow", "mlflow")
    asked = json.loads(body("bench"))
    del asked["model"]  # the path names it; limits are only kept on this path
    caller = Caller({}, json.dumps(asked).encode())
    shared: dict[str, Any] = {
        "command": f"{program} gateway start --config-path {{folder}}/mlflow.yaml --host 127.0.0.1 --port {{port}} --workers 1",
        "caller": lambda _port: caller,
        "path": "/gateway/bench/invocations",
        "tells": False,
        "rival": True,
        "lacking": "" if program.exists() else "not installed",
    }
    return [
        Gateway(
            f"MLflow gateway {version}", "none: no key, no record", files={"mlflow.yaml": MLFLOW}, **shared
        ),
        Gateway(
            f"MLflow gateway {version}, governed, in memory",
            "requests of the address",
            files={"mlflow.yaml": f"{MLFLOW}    limit: {{calls: 1000000000, renewal_period: minute}}\n"},
            before=f"MLflow gateway {version}",
            proofs=lambda _port: [Proof("requests of the address", caller)],
            tight=(("1000000000", "3"),),
            **shared,
        ),
    ]


def version_of(venv: Path, package: str) -> str:
    """What is installed in a virtual environment of a rival."""
    python = venv / "bin/python"
    if not python.exists():
        return ""
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False).stdout.strip()


def everyone(harness: Path | None) -> list[Gateway]:
    return [bare(harness), *ours(), *litellm(), *any_llm(), *mlflow()]


if __name__ == "__main__":
    sys.exit("run governing.py")
