"""What `governing.py` measures: what a gateway is there, the yardstick (`bench/run`'s too), and ours. Others are in `rivals.py`."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
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
    status, data = scenarios.Target(port, headers).post(path, json.dumps(document).encode())
    if status not in (200, 201):
        raise SystemExit(f"{path}: {status} {data[:300]!r}")
    return dict(json.loads(data))


# ---- the yardstick -----------------------------------------------------------------------------
def harness() -> Path | None:
    """The folder of the comparison harness, if it is there."""
    folder = Path(os.environ.get("BENCH_HARNESS", BENCH.parent.parent / "shared/bench"))
    return folder if (folder / "upstream.c").exists() else None


def provider(port: int, folder: Path, *, own: bool = False) -> list[str]:
    """The command of the harness's provider where it can be compiled, else of our own."""
    source = None if own else harness()
    if source is None or shutil.which("gcc") is None:
        return [sys.executable, str(BENCH / "upstream.py"), "--port", str(port)]
    program = folder / "upstream"
    subprocess.run(["gcc", "-O2", "-w", "-o", program, source / "upstream.c"], check=True)
    return [str(program), "--port", str(port)]


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


if __name__ == "__main__":
    sys.exit("run governing.py")
