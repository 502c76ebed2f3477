"""`mainspring serve` as a process: its start, its signals, its workers."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx2
import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import RunningServer

    Start = Callable[..., RunningServer]


def _command(*arguments: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "mainspring", *arguments],
        cwd=folder,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait(until: Callable[[], Any], seconds: float = 60) -> Any:
    limit = time.monotonic() + seconds
    while not (result := until()):
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)
    return result


def _banner(process: subprocess.Popen[str]) -> str:
    """Everything on standard output until the line about models."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("  Models"):
            return "".join(lines)
    raise AssertionError("".join(lines) + (process.stderr.read() if process.stderr else ""))


def test_the_banner_tells_how_to_get_in_and_the_key_only_once(tmp_path: Path) -> None:
    first = _command("serve", "--port", "0", folder=tmp_path)
    text = _banner(first)
    url = re.search(r"answers at (http://127\.0\.0\.1:\d+)\n", text)
    key = re.search(r"Admin key +(ms-\S{40})\n", text)
    assert url is not None
    assert key is not None
    assert f"{url[1]}/console" in text
    assert f"{url[1]}/v1" in text
    assert (tmp_path / ".mainspring/admin.key").read_text().strip() == key[1]
    assert (
        httpx2.get(f"{url[1]}/api/v1/ledger", headers={"x-api-key": key[1]}, trust_env=False).status_code
        == 200
    )
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0, "to obey SIGTERM is a success"
    second = _command("serve", "--port", "0", folder=tmp_path)
    text = _banner(second)
    assert key[1] not in text
    assert "in .mainspring/admin.key" in text
    second.send_signal(signal.SIGINT)
    assert second.wait(60) == 0
    for process in (first, second):
        process.communicate()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_start_that_fails_is_told_in_two_sentences(tmp_path: Path, workers: str) -> None:
    (tmp_path / "file").write_text("")
    process = _command(
        "serve",
        "--port",
        "0",
        "--workers",
        workers,
        folder=tmp_path,
        MAINSPRING_STORAGE__DATABASE=f"sqlite:///{tmp_path}/file/x.db",
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert all(line.startswith("Error: ") for line in err.splitlines()), err


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = _command("serve", "--port", port, folder=tmp_path)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.startswith(f"Error: Cannot listen on 127.0.0.1:{port}: Address already in use.")


def test_chat_streams_from_a_running_server(start_server: Start) -> None:
    server = start_server()
    for arguments in (["say hello", "--model", "openai/gpt-test"], ["say hello", "--system", "Be brief."]):
        process = _command(
            "chat", *arguments, "--url", server.url, folder=server.folder, MAINSPRING_KEY=server.admin_key
        )
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.strip()
    process = _command(
        "chat",
        "x",
        "--model",
        "no-such",
        "--url",
        server.url,
        "--key",
        server.admin_key,
        folder=server.folder,
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.startswith("Error: ")
    assert "no-such" in err
    process = _command("chat", "x", "--url", server.url, "--key", "ms-wrong", folder=server.folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "key" in err


def test_sighup_rereads_the_configuration_and_a_broken_one_is_kept_out(start_server: Start) -> None:
    server = start_server()
    file = server.folder / "mainspring.toml"
    good = file.read_text()

    def models() -> list[str]:
        return [model["id"] for model in server.client.get("/v1/models").json()["data"]]

    file.write_text(good + '\n[routes.extra]\ntargets = ["openai/gpt-test"]\n')
    server.send_signal(signal.SIGHUP)
    _wait(lambda: "extra" in models())
    file.write_text("[server]\nprot = 1\n")
    server.send_signal(signal.SIGHUP)
    _wait(lambda: "server.prot" in server.log())
    assert "extra" in models()


def _workers(server: RunningServer) -> list[psutil.Process]:
    """The children of the server that live."""
    children = psutil.Process(server.pid).children()
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]


def test_a_dead_worker_is_replaced_and_all_stop_together(start_server: Start) -> None:
    server = start_server(workers=2)
    both = _wait(lambda: len(found := _workers(server)) == 2 and found)
    with (server.folder / "mainspring.toml").open("a", encoding="utf-8") as file:
        file.write("\n[storage]\nshared = 'redis://127.0.0.1:1'\n")
    _wait(lambda: "configuration_needs_restart" in server.log())
    both[0].kill()
    _wait(lambda: len(found := _workers(server)) == 2 and both[0].pid not in [each.pid for each in found])
    for _ in range(20):
        # On a busy machine the other one may still be coming up; until then connections wait.
        assert httpx2.get(f"{server.url}/healthz", timeout=30, trust_env=False).status_code == 200
    assert "a worker ended and is replaced" in server.log()
    _wait(lambda: 'worker="1"' in server.client.get("/metrics").text)
    with httpx2.Client(base_url=server.url, timeout=30, trust_env=False) as http:
        headers = {"authorization": f"Bearer {server.admin_key}", "connection": "close"}
        shared = [http.get("/api/v1/limits", headers=headers).json()["shared"]["kind"] for _ in range(20)]
    assert set(shared) == {"memory"}, "the one that came later reads what the other has read"
    remaining = _workers(server)
    assert server.stop() == 0
    _, alive = psutil.wait_procs(remaining, timeout=30)
    assert alive == []


def test_workers_do_not_outlive_their_supervisor(start_server: Start) -> None:
    server = start_server(workers=2)
    both = _wait(lambda: len(found := _workers(server)) == 2 and found)
    _wait(lambda: server.log().count("Mainspring answers") == 1)
    server.send_signal(signal.SIGKILL)
    server.wait(30)
    _, alive = psutil.wait_procs(both, timeout=30)
    assert alive == []


def test_the_server_leaves_json_lines_with_no_secret(start_server: Start) -> None:
    server = start_server(name="logged", env={"MAINSPRING_LOGGING__LEVEL": "debug"})
    server.client.get("/api/v1/ledger")
    server.stop()
    lines = [line for line in server.log().splitlines() if line.startswith("{")]
    for line in lines:
        json.loads(line)
    assert server.admin_key not in server.log()
