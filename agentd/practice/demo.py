"""The demo: the whole real path, from a labelled issue to the merged pull request, on a GitHub in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentd.errors import AgentdError
from agentd.practice import PracticeGitHub

REPO = "alice/hello"
AGENT = Path(__file__).with_name("demo_agent.py")
FILES = {
    "hello.py": 'def greet() -> str:\n    """A greeting."""\n    return "Hello"\n',
    "test_hello.py": (
        "import unittest\n\nimport hello\n\n\nclass Greeting(unittest.TestCase):\n"
        '    def test_greets_by_name(self) -> None:\n        self.assertEqual(hello.greet("Ada"), "Hello, Ada!")\n'
    ),
    ".gitignore": "__pycache__/\n",
}
ISSUE = 'The greeting should name whom it greets: `greet("Ada")` returns `Hello, Ada!`.'
Say = Callable[[str], None]


def run_demo(say: Say, keep: Path | None = None) -> None:
    """Run the demo, telling each step. Raises AgentdError when a step does not end as it should."""
    with tempfile.TemporaryDirectory(prefix="agentd-demo-") as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        with PracticeGitHub(folder / "github") as hub:
            _play(hub, folder, say)


def _play(hub: PracticeGitHub, folder: Path, say: Say) -> None:
    hub.add_user("alice")
    hub.add_user("agentd-bot")
    hub.add_repo(REPO, files=FILES)
    hub.grant(REPO, "agentd-bot", "write")
    number = hub.create_issue(REPO, "Greet people by name", ISSUE, ["agent-ready", "status:todo"], author="alice")
    environment = _environment(hub, folder)
    say(f"1. A practice GitHub at {hub.url} with the repository {REPO}.")
    say(f"2. Issue #{number}, labelled agent-ready and status:todo: Greet people by name")
    say(f"   {ISSUE}\n")
    say("3. agentd once")
    _agentd(environment, folder, "once")
    pull, issue = _pull(hub), _issue(hub, number)
    labels = ", ".join(label["name"] for label in issue["labels"])
    if f"Closes #{number}" not in pull["body"] or "status:in-review" not in labels:
        raise AgentdError(f"the demo's pull request or labels are wrong: {labels}")
    say(f"\n4. Pull request #{pull['number']} is {pull['state']}: {pull['title']} ({pull['html_url']})")
    say(f"   it says `Closes #{number}`; the issue's labels: {labels}\n")
    say(_diff(hub, pull))
    say("5. A person merges it; agentd once again")
    hub.merge(REPO, pull["number"], method="squash", user="alice")
    _agentd(environment, folder, "once")
    issue = _issue(hub, number)
    branches = [row["name"] for row in _get(hub, f"/repos/{REPO}/branches")]
    if issue["state"] != "closed" or branches != ["main"]:
        raise AgentdError(f"the demo's issue is {issue['state']}, its branches are {branches}")
    say(f"\n6. Issue #{number} is {issue['state']} ({issue['state_reason']}); branches left: {', '.join(branches)}")


def _environment(hub: PracticeGitHub, folder: Path) -> dict[str, str]:
    """Settings of the demo's agentd, and nothing of the caller's but what a program needs to run."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "PYTHONPATH") if name in os.environ}
    (folder / "agentd.toml").write_text(
        f"verify_command = {json.dumps(f'{sys.executable} -m unittest -q')}\n"
        "[profiles.demo]\n"
        'adapter = "command"\n'
        f"command = {json.dumps([sys.executable, str(AGENT)])}\n"
        'prompt = "stdin"\n'
    )
    return kept | {
        "HOME": str(folder),
        "REPO": REPO,
        "EXECUTOR_BOT_TOKEN": hub.add_token("agentd-bot"),
        "GITHUB_API_URL": hub.url,
        "GITHUB_SERVER_URL": hub.url,
    }


def _agentd(environment: dict[str, str], folder: Path, *arguments: str) -> None:
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "agentd", *arguments], cwd=folder, env=environment)
    if done.returncode != 0:
        raise AgentdError(f"agentd {' '.join(arguments)} ended with {done.returncode}")


def _pull(hub: PracticeGitHub) -> dict[str, Any]:
    found: list[dict[str, Any]] = _get(hub, f"/repos/{REPO}/pulls")
    if len(found) != 1:
        raise AgentdError(f"expected one open pull request, found {len(found)}")
    return found[0]


def _issue(hub: PracticeGitHub, number: int) -> dict[str, Any]:
    found: dict[str, Any] = _get(hub, f"/repos/{REPO}/issues/{number}")
    return found


def _diff(hub: PracticeGitHub, pull: dict[str, Any]) -> str:
    files = _get(hub, f"/repos/{REPO}/pulls/{pull['number']}/files")
    return "\n".join(f"   {row['filename']}\n{_indented(row['patch'])}" for row in files) + "\n"


def _indented(patch: str) -> str:
    return "\n".join(f"   {line}" for line in patch.splitlines())


def _get(hub: PracticeGitHub, path: str) -> Any:
    import requests

    session = requests.Session()
    session.trust_env = False  # a proxy of the caller's must not get in the way of loopback
    answer = session.get(f"{hub.url}{path}", timeout=20)
    answer.raise_for_status()
    return answer.json()
