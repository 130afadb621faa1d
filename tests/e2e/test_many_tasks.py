"""Fifty tasks with priorities and dependencies under a running supervisor, and a person who merges."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from datetime import datetime
from typing import Any

import pytest

from agentd.practice import PracticeGitHub
from tests.e2e.conftest import REPO, Installation

TASKS = 50
PARALLEL = 4
AGENT = """
import sys, time
prompt = sys.stdin.read()
task = next(word for word in prompt.split() if word.startswith("task_id=")).removeprefix("task_id=")
time.sleep(0.2)
open(f"work-{task}.txt", "w").write(task)
"""


def contracts(seed: int) -> dict[str, dict[str, Any]]:
    """Fifty contracts; a third of them need one or two earlier ones."""
    choice = random.Random(seed)
    made: dict[str, dict[str, Any]] = {}
    for number in range(TASKS):
        task_id = f"P{number % 4}-{number + 1:02}"
        earlier = choice.sample(sorted(made), min(len(made), choice.choice((0, 0, 0, 0, 1, 2))))
        made[task_id] = {
            "task_id": task_id,
            "title": f"Task {number}",
            "goal": "Write the file.",
            "inputs": ["-"],
            "expected_outputs": ["-"],
            "constraints": ["-"],
            "verify_command": f"test -f work-{task_id}.txt",
            "definition_of_done": ["-"],
            "rollback_note": "revert",
            "phase": choice.choice(("foundation", "hardening", "methodology", "rollout")),
            "priority": choice.choice(("high", "medium", "low")),
            "track": "runtime",
            "risk_level": "low",
            "dependencies": earlier,
        }
    return made


def transitions(here: Installation) -> list[dict[str, str]]:
    """Every state change of every run, oldest first."""
    with sqlite3.connect(f"file:{here.folder}/.agentd/state/agentd.db?mode=ro", uri=True) as store:
        rows = store.execute(
            "SELECT runs.task_id, runs.run_id, before, after, at FROM transitions JOIN runs USING (run_id) ORDER BY id"
        )
        return [dict(zip(("task", "run", "before", "after", "at"), row, strict=True)) for row in rows]


@pytest.mark.timeout(400)
def test_fifty_tasks_are_all_merged_in_order_and_never_more_than_four_at_once(
    here: Installation, hub: PracticeGitHub
) -> None:
    here.agent(AGENT)
    here.configure("poll_interval_seconds = 1\n")
    wanted = contracts(seed=11)
    (here.folder / "tasks").mkdir()
    for task_id, contract in wanted.items():
        (here.folder / "tasks" / f"{task_id}.json").write_text(json.dumps(contract))
    for name in ("alice",):  # the labels that sync sets are a member's, as when a person runs it
        here.run("tasks", "sync", EXECUTOR_BOT_TOKEN=hub.add_token(name))
    here.run("start", "--max-parallel", str(PARALLEL))
    merged_at: dict[str, str] = {}
    until = time.monotonic() + 240
    try:
        while len(merged_at) < TASKS and time.monotonic() < until:
            for pull in here.pulls():
                task_id = pull["head"]["ref"].removeprefix("agent/")
                if task_id in merged_at or "status:in-review" not in here.labels(_issue_of(pull)):
                    continue
                assert hub.merge(REPO, pull["number"], method="squash")
                merged_at[task_id] = task_id
            time.sleep(0.2)
        while time.monotonic() < until and here.status()["counts"].get("merged") != TASKS:
            time.sleep(0.5)
    finally:
        here.run("stop")
    assert here.status()["counts"] == {"merged": TASKS}
    pulls = [pull["head"]["ref"] for pull in here.pulls("all")]
    assert sorted(pulls) == sorted(f"agent/{task_id}" for task_id in wanted)
    assert [row["name"] for row in here.get("/branches")] == ["main"]
    merges = {pull["head"]["ref"].removeprefix("agent/"): pull["merged_at"] for pull in here.pulls("all")}
    _check_order(wanted, transitions(here), merges)


def _issue_of(pull: dict[str, Any]) -> int:
    return int(pull["body"].split("Closes #", 1)[1].split()[0])


def _check_order(wanted: dict[str, dict[str, Any]], changes: list[dict[str, str]], merges: dict[str, str]) -> None:
    """`merges` is GitHub's word, to the second: the issue is closed then, whenever agentd may learn of it."""
    active: set[str] = set()
    waiting = set(wanted)
    most = 0
    for change in changes:
        task = change["task"]
        if change["after"] == "queued":
            assert task in waiting, f"{task} was started twice"
            for needed in wanted[task]["dependencies"]:
                began, merged = datetime.fromisoformat(change["at"]), datetime.fromisoformat(merges[needed])
                assert merged <= began, f"{task} was started before {needed}, which it needs, was merged"
            waiting.discard(task)
            active.add(task)
        elif change["after"] == "in_review":
            active.discard(task)
        most = max(most, len(active))
    assert most == PARALLEL
    ready = [task for task, contract in wanted.items() if not contract["dependencies"]]
    started = [change["task"] for change in changes if change["after"] == "queued" and change["task"] in ready]
    ranks = [_rank(wanted[task]) for task in started]
    assert ranks == sorted(ranks), "tasks that could all start did not start by priority, then phase"


def _rank(contract: dict[str, Any]) -> tuple[int, int]:
    return (
        ("high", "medium", "low").index(contract["priority"]),
        ("foundation", "hardening", "methodology", "rollout").index(contract["phase"]),
    )
