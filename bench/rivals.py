"""The other gateways that `governing.py` measures: how each is started, what limits it has, and how to see that it keeps
them. They are taken from `$BENCH_PEERS`, where the comparison harness installs them; what is not there is skipped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from gateways import BENCH, FIVE, PEERS, Caller, Gateway, Proof, bare, body, made, ours

if TYPE_CHECKING:
    from pathlib import Path


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
