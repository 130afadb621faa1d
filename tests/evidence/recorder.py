"""Plays recorded runs again: the built-in agent on a practice GitHub, its model by a script, one installation a run.

`agentd` itself does everything, as a command; only the evidence is made here, from the store that it leaves, in the
form that is the same on every machine (agentd.evidence.volatile).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentd.clock import SystemClock
from agentd.evidence.files import About, evidence_of
from agentd.evidence.making import Sources, cleaner_of, patch_for
from agentd.evidence.volatile import settled
from agentd.git.mirror import known_mirror
from agentd.loading import load
from agentd.practice import PracticeGitHub
from agentd.practice.model import PER_PROMPT, ScriptedModel
from agentd.store import runs
from agentd.store.connection import open_store
from agentd.trace.record import record_of

ROOT = Path(__file__).resolve().parents[2]
RECORDED = Path(__file__).with_name("runs")
FILES = {"README.md": "# widget\n", "check.sh": "test -f done.txt\n"}
AT_ONCE = 2
Script = list[dict[str, Any]]


@dataclass(frozen=True)
class Scenario:
    """One recorded run: what the model does, under which policy, and what must come of it."""

    script: Script
    rule: str = ""
    """what denies something, or halts the run; empty for nothing"""
    policy: str = "{}\n"
    state: str = "in_review"
    terminal_reason: str = "final_answer"
    failure_mode: str = ""


def call(name: str, **given: Any) -> dict[str, Any]:
    return {"call": {"name": name, "input": given}}


def reading(line: int) -> dict[str, Any]:
    """Another call each time."""
    return call("read_file", path="README.md", first_line=line)


def report(*changed: str) -> dict[str, Any]:
    return call("report", summary="done", files_changed=list(changed), commands_verified=["sh check.sh"])


WORK: Script = [call("write_file", path="done.txt", content="done\n"), report("done.txt")]
READ = call("read_file", path="README.md")
FAST_RETRY = "retry: {max_retries: 1, backoff_base_ms: 10, backoff_cap_ms: 20}\n"
HANG = {"hang": True}
"""After what halts the run: the agent is ended while it waits, and not somewhere in what it does next."""
SCENARIOS: dict[str, Scenario] = {
    "canonical": Scenario([READ, {"shell": "ls"}, WORK[0], {"shell": "sh check.sh"}, report("done.txt")]),
    "pg1_url_allowlist": Scenario(
        [call("fetch", url="https://evil.example/x"), *WORK], "url_allowlist", "url_allowlist: [docs.example]\n"
    ),
    "pg2_sandbox_path": Scenario([call("write_file", path="../outside", content="x"), *WORK], "sandbox_path"),
    "pg3_loop_budget_iterations": Scenario(
        [*(reading(line) for line in range(1, 5)), HANG],
        "loop_budget",
        "loop_budget: {max_iterations: 3}\n",
        "halted",
        "loop_budget",
        "budget_exhausted",
    ),
    "pg3_loop_budget_tokens": Scenario(
        [
            *(
                {**call("read_file", path="README.md", first_line=line), "usage": {"input": 900}}
                for line in range(1, 4)
            ),
            HANG,
        ],
        "loop_budget",
        "loop_budget: {max_tokens: 2000}\n",
        "halted",
        "loop_budget",
        "budget_exhausted",
    ),
    "pg4_tool_denied": Scenario(
        [call("list_files"), *WORK], "tool_registry", "tool_registry: {denied: [list_files]}\n"
    ),
    "pg4_tool_not_allowed": Scenario(
        [call("list_files"), *WORK],
        "tool_registry",
        "tool_registry: {allowed: [read_file, write_file, report]}\narg_schema_enforcement: 'off'\n",
    ),
    "pg5_arg_schema": Scenario([call("read_file", path=3), *WORK], "arg_schema", failure_mode="schema_mismatch"),
    "f1_tool_call_failure": Scenario([{"status": 529}, *WORK], policy=FAST_RETRY, failure_mode="tool_call_failure"),
    "f2_retry_exhaustion": Scenario(
        [{"status": 529, "times": -1}],
        policy=FAST_RETRY,
        state="failed_retry",
        terminal_reason="retry_exhausted",
        failure_mode="retry_exhaustion",
    ),
    "f3_schema_mismatch": Scenario(
        [READ, call("write_file", path="done.txt", content=7), *WORK], "arg_schema", failure_mode="schema_mismatch"
    ),
    "f4_cycle_detection": Scenario(
        [*([READ] * 4), HANG],
        "cycle_detection",
        "cycle_detection: {max_repeats: 3}\n",
        "halted",
        "policy_denial_terminal",
        "cycle_detection",
    ),
    "f5_catalogued_unhandled": Scenario(
        [READ, {"text": "I give up."}],
        state="failed_retry",
        terminal_reason="failure_mode_terminal",
        failure_mode="catalogued_unhandled",
    ),
}


@dataclass(frozen=True)
class Played:
    """What came of a scenario."""

    name: str
    state: str
    terminal_reason: str
    failure_mode: str
    files: dict[str, bytes]


def play(folder: Path, names: Iterable[str] = SCENARIOS) -> dict[str, Played]:
    """Play scenarios in installations below `folder`, a few at the same time."""
    with PracticeGitHub(folder / "github") as hub, ScriptedModel() as model:
        for name in ("alice", "agentd-bot"):
            hub.add_user(name)
        token = hub.add_token("agentd-bot")

        def one(name: str) -> Played:
            return _play(folder / name, name, hub, model, token)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return {played.name: played for played in pool.map(one, names)}


def _play(folder: Path, name: str, hub: PracticeGitHub, model: ScriptedModel, token: str) -> Played:
    scenario, repo = SCENARIOS[name], f"alice/{name}"
    hub.add_repo(repo, files=FILES)
    hub.grant(repo, "agentd-bot", "write")
    hub.create_issue(repo, "Make done.txt", "Write done.txt.", ["agent-ready", "status:todo"], author="alice")
    model.script(name, scenario.script)
    folder.mkdir(parents=True)
    (folder / "policy.yaml").write_text(scenario.policy)
    (folder / "agentd.toml").write_text(
        'verify_command = "sh check.sh"\nmax_fix_rounds = 0\npolicy = "policy.yaml"\n'
        '[profiles.build]\nadapter = "builtin"\nmodel = "anthropic:practice"\nshell_allow = ["sh", "ls"]\n'
    )
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "REPO": repo,
        "EXECUTOR_BOT_TOKEN": token,
        "GITHUB_API_URL": hub.url,
        "GITHUB_SERVER_URL": hub.url,
        "AGENT_STATE_DIR": str(folder / "state"),
        "AGENT_LOG_DIR": str(folder / "logs"),
        "WORKTREE_BASE": str(folder / "trees"),
        "ANTHROPIC_BASE_URL": model.base_url(PER_PROMPT, name),
        "ANTHROPIC_API_KEY": "practice-key",
    }
    done = subprocess.run(
        [sys.executable, "-m", "agentd", "once", "--json"],
        cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
    )  # fmt: skip
    try:
        [run] = json.loads(done.stdout)["runs"]
    except ValueError:
        raise AssertionError(f"{name}: {done.stdout}") from None
    return _taken(name, folder, environ, run["run_id"])


def _taken(name: str, folder: Path, environ: Mapping[str, str], run_id: str) -> Played:
    """The evidence of the run, as every machine would have it."""
    settings = load({}, environ=environ, directory=folder).settings
    store = open_store("", settings.state_dir, SystemClock(), create=False, read_only=True)
    try:
        run = runs.get_run(store, run_id)
        assert run is not None
        manifest = json.loads((folder / "state" / "runs" / run_id / "evidence" / "manifest.json").read_text())
        sources = Sources(settings, store, known_mirror(settings), environ, manifest["policy"]["sha256"])
        tidy = cleaner_of(sources, run)

        def clean(text: str) -> str:
            return tidy(text.replace(run_id, name)).replace(environ["GITHUB_API_URL"], "<github>")

        record = settled(record_of(store, run_id, settings.repo), name)
        files = evidence_of(record, patch_for(sources, run), About("recorded", sources.policy_sha), clean)
        return Played(name, str(run.state), run.terminal_reason, run.failure_mode, files)
    finally:
        store.close()
