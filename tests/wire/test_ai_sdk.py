"""Vercel's AI SDK on Node against the real server. Its packages are installed once, into a cache of the user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.conversations import PARIS

if TYPE_CHECKING:
    from tests.support.server import RunningServer

PACKAGES = ["ai@6", "@ai-sdk/openai-compatible@2"]
PROGRAM = Path(__file__).parent / "ai_sdk" / "conversation.mjs"


@pytest.fixture(scope="session")
def sdk() -> Path:
    """The folder with the program and its packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("the AI SDK needs node and npm, which are not on this machine")
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mainspring-tests" / "ai-6"
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--prefix",
            str(folder),
            *PACKAGES,
        ]
        for again in (True, True, False):  # a package registry has its moments
            try:
                subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
                break
            except subprocess.SubprocessError as error:
                if not again:
                    told = str(getattr(error, "stderr", None) or error).strip()
                    pytest.skip(f"npm could not install the AI SDK: {told[-300:]}")
        (folder / "installed").touch()
    # Node looks for packages beside the program.
    shutil.copy(PROGRAM, folder / PROGRAM.name)
    return folder


@pytest.mark.parametrize("model", ["openai/test", "anthropic/test"])
def test_ai_sdk(sdk: Path, server: RunningServer, member_key: str, model: str) -> None:
    command = ["node", PROGRAM.name, server.url, member_key, model]
    done = subprocess.run(command, cwd=sdk, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = {line.pop("what"): line for line in map(json.loads, done.stdout.splitlines())}

    assert said["text"]["text"] == "You said: good day"
    assert said["text"]["finish"] == "stop"
    assert (said["text"]["usage"]["inputTokens"], said["text"]["usage"]["outputTokens"]) == (20, 4)
    assert said["stream"]["text"] == "You said: good day"
    assert said["stream"]["pieces"] == 4
    assert said["stream"]["usage"]["outputTokens"] == 4
    assert said["tools"]["calls"] == [{"city": PARIS}]
    assert said["tools"]["steps"] == 2
    assert f"Tool result: sunny in {PARIS}" in said["tools"]["text"]
    assert said["stream tools"]["calls"] == [{"city": PARIS}]
    assert f"Tool result: sunny in {PARIS}" in said["stream tools"]["text"]
    assert said["object"]["object"] == {"name": PARIS, "people": 7}
    if model.startswith("openai/"):
        assert said["embeddings"] == {"count": 2, "dimensions": 8}
    assert said["refusal"] == {"error": "AI_APICallError", "status": 429, "retryable": True}
    assert "error" in said["broken"]["kinds"]
