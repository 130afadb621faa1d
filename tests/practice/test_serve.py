"""`agentd practice serve`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests

SEED = {
    "users": [{"login": "robo", "id": 9, "type": "Bot"}],
    "repos": [{"full_name": "alice/widget", "files": {"a": "b"}, "grants": {"robo": "write"}}],
    "tokens": [{"user": "robo", "token": "ghp_fixed", "scopes": ["repo"]}, {"user": "alice"}],
    "labels": {"alice/widget": [{"name": "agent-ready", "color": "00ff00"}]},
    "issues": [{"repo": "alice/widget", "title": "one", "labels": ["agent-ready"]}],
}


def test_serves_a_seed_until_interrupted(tmp_path: Path) -> None:
    seed, ready = tmp_path / "seed.json", tmp_path / "ready"
    seed.write_text(json.dumps(SEED))
    command = [
        sys.executable,
        "-c",
        "from agentd.cli.practice import app; app()",
        "serve",
        "--root",
        str(tmp_path / "hub"),
    ]
    process = subprocess.Popen(
        [*command, "--seed", str(seed), "--ready-file", str(ready)], stdout=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 30
        while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        url = ready.read_text().strip()
        headers = {"Authorization": "token ghp_fixed"}
        issue = requests.get(f"{url}/repos/alice/widget/issues/1", headers=headers, timeout=10).json()
        assert (issue["labels"][0]["color"], issue["user"]["login"]) == ("00ff00", "alice")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    lines = out.splitlines()
    assert lines[:2] == [url, "token robo ghp_fixed"]
    assert lines[2].startswith("token alice ghp_")
