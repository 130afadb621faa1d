"""From the label to the merged pull request, as its users see it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from agentd.git.runner import git
from agentd.practice import PracticeGitHub
from tests.e2e.conftest import REPO, Installation


def test_a_labelled_issue_becomes_a_verified_pull_request(here: Installation) -> None:
    number = here.issue("Make it done")
    done = here.once()
    [run] = done["runs"]
    assert (run["state"], run["task_id"]) == ("in_review", f"issue-{number}")
    [pull] = here.pulls()
    assert pull["title"] == f"[issue-{number}] Make it done"
    assert pull["head"]["ref"] == f"agent/issue-{number}"
    for part in (f"Closes #{number}", "sh check.sh", "Rollback note", run["run_id"]):
        assert part in pull["body"]
    assert here.labels(number) == {"agent-ready", "status:in-review"}
    assert len(here.stickies(number)) == 1
    assert pull["html_url"] in here.stickies(number)[0]
    files = {row["filename"] for row in here.get(f"/pulls/{pull['number']}/files")}
    assert files == {"done.txt", f"work-issue-{number}.txt"}
    [commit] = here.get(f"/pulls/{pull['number']}/commits")
    assert commit["commit"]["message"].startswith(f"feat(issue-{number}): Make it done")


def test_labels_in_another_case_are_the_same_ones(here: Installation, hub: PracticeGitHub) -> None:
    number = hub.create_issue(REPO, "Do it", "Make done.txt.", ["Agent-Ready", "Status:Todo"], author="alice")
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"
    assert {label.lower() for label in here.labels(number)} == {"agent-ready", "status:in-review"}


def test_a_merged_pull_request_ends_the_task_and_leaves_no_trace(
    here: Installation, hub: PracticeGitHub, tmp_path: Path
) -> None:
    number = here.issue()
    [run] = here.once()["runs"]
    hub.merge(REPO, here.pulls()[0]["number"], method="squash")
    here.once()
    issue = here.get(f"/issues/{number}")
    assert (issue["state"], issue["state_reason"]) == ("closed", "completed")
    assert [row["name"] for row in here.get("/branches")] == ["main"]
    refs = git("for-each-ref", "--format=%(refname)", git_dir=tmp_path / "github" / "alice" / "widget.git").splitlines()
    assert [ref for ref in refs if not ref.startswith("refs/pull/")] == ["refs/heads/main"]
    shown = json.loads(here.run("runs", "show", run["run_id"], "--json"))
    assert shown["state"] == "merged"
    assert not list((Path(here.folder) / "worktrees" / "alice" / "widget").iterdir())
    assert here.writes().count(f"POST /repos/{REPO}/issues/{number}/comments") == 1


def test_a_repository_in_another_case_is_the_same_one(here: Installation, hub: PracticeGitHub) -> None:
    number, repo = here.issue(), REPO.title()
    here.once(REPO=repo)
    hub.commit(REPO, f"agent/issue-{number}", {"more.txt": "a reviewer's"})
    hub.merge(REPO, here.pulls()[0]["number"], method="squash")
    here.once(REPO=repo)
    assert [row["name"] for row in here.get("/branches")] == ["main"]


def test_the_original_files_are_kept(here: Installation) -> None:
    here.issue()
    here.once()
    state = here.folder / ".agentd" / "state"
    [record] = json.loads((state / "runs.json").read_text())
    assert record["status"] == "ready_for_review"
    lines = (here.folder / ".agentd" / "logs" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event_type"] for line in lines] == [
        "task_selected",
        "dispatch_started",
        "issue_labeled",
        "branch_sync",
        "agent_started",
        "agent_finished",
        "verify_started",
        "verify_finished",
        "pr_opened",
        "issue_labeled",
        "run_completed",
    ]
    assert (here.folder / ".agentd" / "logs" / "workers" / f"{record['run_id']}.log").read_text().startswith("did")


def test_a_dry_run_writes_nothing_anywhere(here: Installation, hub: PracticeGitHub) -> None:
    here.issue("First")
    here.issue("Second", labels=["priority:high"])
    before = sorted(path for path in here.folder.rglob("*"))
    said = here.run("once", "--dry-run", MAX_PARALLEL="1")
    assert "start issue-2 #2 Second: next" in said
    assert "hold  issue-1 #1 First: 1 runs at once [no_slot]" in said
    assert sorted(path for path in here.folder.rglob("*")) == before
    assert here.writes() == []
    here.once(MAX_PARALLEL="1")
    state = here.folder / ".agentd" / "state"
    store = {path: path.read_bytes() for path in state.glob("agentd.db*")}
    writes = here.writes()
    here.run("once", "--dry-run")
    assert {path: path.read_bytes() for path in state.glob("agentd.db*") if path.suffix != ".db-shm"} == {
        path: content for path, content in store.items() if path.suffix != ".db-shm"
    }
    assert here.writes() == writes


def test_a_failed_verify_gives_the_agent_its_output_and_another_turn(here: Installation) -> None:
    here.agent(
        "import sys\nprompt = sys.stdin.read()\n"
        "good = 'Your work so far did not pass' in prompt and 'no such luck' in prompt\n"
        "open('done.txt' if good else 'other.txt', 'w').write('x')\n"
    )
    here.configure(verify="test -f done.txt || { echo no such luck; exit 7; }")
    here.issue()
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"


def test_work_that_never_passes_is_blocked_and_kept(here: Installation) -> None:
    here.agent("open('other.txt', 'w').write('precious')")
    here.configure("max_fix_rounds = 1")
    number = here.issue()
    [run] = here.once(check=1)["runs"]
    assert run["state"] == "verify_failed"
    assert here.labels(number) == {"agent-ready", "status:blocked"}
    assert here.pulls("all") == []
    [sticky] = here.stickies(number)
    assert "verify command does not pass" in sticky
    assert "status:todo" in sticky
    mirror = here.folder / ".agentd" / "state" / "mirrors" / "alice" / "widget.git"
    ref = f"refs/agentd/salvage/issue-{number}/{run['run_id']}"
    assert git("show", f"{ref}:other.txt", git_dir=mirror) == "precious"


def test_setting_todo_again_is_obeyed(here: Installation) -> None:
    here.agent("import sys; sys.exit(3)")
    number = here.issue()
    [run] = here.once(check=1)["runs"]
    assert run["state"] == "failed_retry"
    assert here.labels(number) == {"agent-ready", "status:todo"}
    lines = (here.folder / ".agentd" / "logs" / "events.jsonl").read_text().splitlines()
    decided = [event["data"] for event in map(json.loads, lines) if event["event_type"] == "policy_decided"]
    [wait] = [data for data in decided if data["rule_id"] == "backoff"]
    assert wait["reason"].startswith("waits after: the agent failed")
    here.run("reset", f"issue-{number}")
    [run] = here.once(check=1)["runs"]
    here.run("reset", f"issue-{number}")
    here.agent("open('done.txt', 'w').write('x')")
    [run] = here.once()["runs"]
    assert (run["state"], run["attempt"]) == ("in_review", 3)


def test_two_agent_failures_block_and_a_person_lets_it_start_anew(here: Installation) -> None:
    here.agent("import sys; sys.exit(3)")
    here.configure("[retries]\nagent = 1\n")
    number = here.issue()
    [run] = here.once(check=1)["runs"]
    assert run["state"] == "failed"
    assert here.labels(number) == {"agent-ready", "status:blocked"}
    assert here.once()["runs"] == []
    here.act("POST", f"/issues/{number}/labels", {"labels": ["status:todo"]})
    here.act("DELETE", f"/issues/{number}/labels/status:blocked")
    here.agent("open('done.txt', 'w').write('x')")
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"


def test_an_agent_that_changes_nothing_is_not_a_success(here: Installation) -> None:
    here.agent("print('all done, trust me')")
    number = here.issue()
    [run] = here.once(check=1)["runs"]
    assert run["state"] == "no_changes"
    assert "status:blocked" in here.labels(number)


def test_the_agent_sees_no_token_and_no_ambient_secret(here: Installation) -> None:
    here.agent("import os; open('done.txt', 'w').write(repr(dict(os.environ)))")
    here.issue()
    here.once(AWS_SECRET_ACCESS_KEY="ambient-secret", GH_TOKEN="other-token-value")
    [pull] = here.pulls()
    [row] = [row for row in here.get(f"/pulls/{pull['number']}/files") if row["filename"] == "done.txt"]
    for secret in (here.environ["EXECUTOR_BOT_TOKEN"], "ambient-secret", "other-token-value"):
        assert secret not in row["patch"]
    assert "'HOME': '/home/agent'" in row["patch"]


def test_a_pause_holds_everything_over_restarts_until_it_is_resumed(here: Installation) -> None:
    here.run("pause", "--reason", "release day")
    here.issue()
    assert here.once()["runs"] == []
    assert "paused by the operator: release day" in here.run("status")
    assert "paused by the operator: release day [paused]" in here.run("once", "--dry-run")
    here.run("resume")
    assert "there was no pause" in here.run("resume")
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"


def test_githubs_own_dependencies_are_waited_for(here: Installation, hub: PracticeGitHub) -> None:
    first = hub.create_issue(REPO, "First", "a person does this", [], author="alice")
    number = here.issue("Second")
    blocker = here.get(f"/issues/{first}")
    here.act("POST", f"/issues/{number}/dependencies/blocked_by", {"issue_id": blocker["id"]})
    assert here.once()["plan"][0]["reason"] == f"blocked by #{first}"
    here.act("PATCH", f"/issues/{first}", {"state": "closed", "state_reason": "not_planned"})
    assert here.once()["plan"][0]["rule_id"] == "dependencies"
    here.act("PATCH", f"/issues/{first}", {"state": "open"})
    here.act("PATCH", f"/issues/{first}", {"state": "closed", "state_reason": "completed"})
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"


def test_a_shell_that_gives_few_files_holds_up_no_run(here: Installation) -> None:
    here.issue()
    agentd = f"exec {sys.executable} -m agentd once --json"
    shell = ["bash", "-c", f"ulimit -S -n 24; {agentd}"]
    done = subprocess.run(shell, cwd=here.folder, env=here.environ, capture_output=True, text=True)
    assert [run["state"] for run in json.loads(done.stdout)["runs"]] == ["in_review"], done.stderr
