"""What README and documentation show is run: shell and Python against a real server, TOML through the settings.

`sh`, `python` and `toml` blocks are taken as they stand; only the address and the folder of the command differ.
Blocks marked `console` show what takes a key of someone's, or does not end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.documents import Block, blocks
from tests.support.server import RunningServer, running

from mainspring.base.settings import load
from mainspring.providers.known import KNOWN
from mainspring.web.rehearsal import rehearse

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
MODELS = Path(os.environ.get("LOCAL_MODELS") or ROOT / ".mainspring" / "models")
SECONDS = 180


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server as `make run` leaves it: its own admin key, the models in the box."""
    if not any(MODELS.glob("**/*.gguf")):
        pytest.skip("the small model is not there: `mainspring local pull small embed` fetches it")
    config = f'[local]\ndirectory = "{MODELS}"\n'
    folder = tmp_path_factory.mktemp("documented")
    # An empty variable counts as none: the server makes its own key, as on a fresh machine.
    with running(RunningServer(folder, config, env={"MAINSPRING_ADMIN_KEY": ""})) as server:
        (folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
        yield server


def run(block: Block, server: RunningServer) -> str:
    """Run a block in the server's folder and return what it printed."""
    text = block.text.replace("http://127.0.0.1:8080", server.url).replace(
        ".venv/bin/", f"{Path(sys.executable).parent}/"
    )
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(server.folder),  # for .curlrc: an HTTP error is a failed command
        "MAINSPRING_KEY": (server.folder / ".mainspring/admin.key").read_text("utf-8").strip(),
        "MAINSPRING_URL": server.url,
    }
    command = (
        [sys.executable, "-c", text] if block.kind == "python" else ["bash", "-euo", "pipefail", "-c", text]
    )
    done = subprocess.run(
        command, cwd=server.folder, env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}\n{server.log()[-3000:]}"
    return done.stdout


@pytest.mark.parametrize("block", blocks("sh", "python"), ids=str)
def test_example_runs(block: Block, started: RunningServer) -> None:
    printed = run(block, started)
    assert printed.strip() or block.text.startswith("export") or "export" in block.text


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_configuration_can_be(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one that a server would start with, where all providers that people know by name are there."""
    for known in KNOWN.values():
        for variable in filter(None, (known.key_variable, known.url_variable)):
            monkeypatch.setenv(
                variable, known.base_url or "https://host/v1" if "KEY" not in variable else "sk-any"
            )
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mainspring.toml"
    file.write_text(block.text, "utf-8")
    rehearse(load(file), file)
