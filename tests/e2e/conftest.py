"""A whole installation on a practice GitHub: a repository, people, a bot, an agent program, and agentd as a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from agentd.practice import PracticeGitHub

ROOT = Path(__file__).resolve().parent.parent.parent
"""What is tested is this tree, whatever is installed."""
REPO = "alice/widget"
FILES = {"README.md": "# widget\n", "check.sh": "test -f done.txt\n", ".gitignore": "__pycache__/\n"}
GOOD_AGENT = """
import sys
prompt = sys.stdin.read()
task = next(word for word in prompt.split() if word.startswith("task_id=")).removeprefix("task_id=")
open("done.txt", "a").write(task + "\\n")
open(f"work-{task}.txt", "w").write(prompt)
print("did", task)
"""


@dataclass
class Installation:
    """One agentd with its own HOME, pointed at the hub."""

    hub: PracticeGitHub
    folder: Path
    environ: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    repo: str = REPO

    def agent(self, source: str) -> None:
        """The program that works on every task from now on."""
        (self.folder / "agent.py").write_text(source)

    def configure(self, extra: str = "", verify: str = "sh check.sh") -> None:
        """Write agentd.toml; keys outside a table must come first in `extra`."""
        command = json.dumps([sys.executable, str(self.folder / "agent.py")])
        (self.folder / "agentd.toml").write_text(
            f"verify_command = {json.dumps(verify)}\n{extra}\n"
            f'[profiles.build]\nadapter = "command"\ncommand = {command}\nprompt = "stdin"\n'
        )

    def run(self, *arguments: str, check: int | None = 0, timeout: float = 120, **environ: str) -> str:
        """Run the command, check its exit status, and give back what it printed (both streams)."""
        done = subprocess.run(
            [sys.executable, "-m", "agentd", *arguments],
            cwd=self.folder,
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert check is None or done.returncode == check, f"{arguments} ended {done.returncode}:\n{done.stdout}"
        return done.stdout

    def once(self, check: int | None = 0, **environ: str) -> dict[str, Any]:
        """`agentd once --json`, parsed."""
        found: dict[str, Any] = json.loads(self.run("once", "--json", check=check, **environ))
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json"))
        return found

    def doctor(self, *arguments: str, check: int | None = 0, **environ: str) -> list[dict[str, Any]]:
        """What `agentd doctor` finds, in the report's second form."""
        told = json.loads(self.run("doctor", "--format", "json", "--schema", "2", *arguments, check=check, **environ))
        found: list[dict[str, Any]] = told["checks"]
        return found

    def issue(self, title: str = "Do it", body: str = "Make done.txt.", author: str = "alice", **more: Any) -> int:
        """A labelled issue, ready to be worked on."""
        labels = ["agent-ready", "status:todo", *more.get("labels", ())]
        return self.hub.create_issue(self.repo, title, body, labels, author=author)

    def get(self, path: str) -> Any:
        """A GET on the repository as its owner."""
        session = requests.Session()
        session.trust_env = False
        token = self.settings.setdefault("owner_token", self.hub.add_token("alice"))
        answer = session.get(
            f"{self.hub.url}/repos/{self.repo}{path}", headers={"Authorization": f"token {token}"}, timeout=20
        )
        answer.raise_for_status()
        return answer.json()

    def act(self, method: str, path: str, body: Any = None, user: str = "alice") -> Any:
        """A write on the repository as some person."""
        session = requests.Session()
        session.trust_env = False
        headers = {"Authorization": f"token {self.hub.add_token(user)}"}
        answer = session.request(
            method, f"{self.hub.url}/repos/{self.repo}{path}", json=body, headers=headers, timeout=20
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def labels(self, number: int) -> set[str]:
        return {label["name"] for label in self.get(f"/issues/{number}")["labels"]}

    def stickies(self, number: int) -> list[str]:
        """Bodies of agentd's own comments."""
        comments = self.get(f"/issues/{number}/comments")
        return [row["body"] for row in comments if row["user"]["login"] == "agentd-bot"]

    def pulls(self, state: str = "open") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"/pulls?state={state}&per_page=100")
        return found

    def writes(self) -> list[str]:
        """Every write of the bot so far, `METHOD path`."""
        return [
            f"{record.method} {record.path}"
            for record in self.hub.log
            if record.user == "agentd-bot" and record.method != "GET" and record.kind == "rest"
        ]


def written(folder: Path, trees: str, name: str) -> list[Path]:
    """A file that runs have written, in all their working trees (a pattern below the folder), in either layout."""
    return [*folder.glob(f"{trees}/{name}"), *folder.glob(f"{trees}/upper/{name}")]


def environment(home: Path, hub: PracticeGitHub, token: str, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a person's shell would have, and no more."""
    return {
        "PATH": base["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "REPO": REPO,
        "EXECUTOR_BOT_TOKEN": token,
        "GITHUB_API_URL": hub.url,
        "GITHUB_SERVER_URL": hub.url,
    }


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[PracticeGitHub]:
    with PracticeGitHub(tmp_path / "github") as made:
        for name in ("alice", "agentd-bot", "mallory"):
            made.add_user(name)
        made.add_repo(REPO, files=FILES)
        made.grant(REPO, "agentd-bot", "write")
        yield made


@pytest.fixture
def here(hub: PracticeGitHub, tmp_path: Path) -> Installation:
    """An installation with the good agent, configured as small as can be."""
    folder = tmp_path / "home"
    folder.mkdir()
    made = Installation(hub, folder, environment(folder, hub, hub.add_token("agentd-bot")))
    made.agent(GOOD_AGENT)
    made.configure()
    return made
