"""The base, or the task's own branch, moves while a run is under way or between two runs."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from agentd.clock import SystemClock
from agentd.git.runner import git
from agentd.store import holds
from agentd.store.connection import open_store
from tests.e2e.conftest import Installation

WAITING_AGENT = "import time\ntime.sleep(3)\n"
CONFLICT = """
import pathlib, sys
prompt, readme = sys.stdin.read(), pathlib.Path("README.md")
pathlib.Path("done.txt").write_text("x")
if "A conflict to resolve first" in prompt and "- README.md" in prompt:
    assert "<<<<<<<" in readme.read_text() and "theirs" in readme.read_text() and "ours" in readme.read_text()
    readme.write_text({resolution!r})
else:
    readme.write_text("# ours\\n")
"""


def write(here: Installation, path: str, text: str, branch: str = "main") -> None:
    """A person commits one file on GitHub."""
    content = base64.b64encode(text.encode()).decode()
    known = [row for row in here.get(f"/contents/?ref={branch}") if row["path"] == path]
    body: dict[str, Any] = {"message": f"write {path}", "content": content, "branch": branch}
    here.act("PUT", f"/contents/{path}", body | ({"sha": known[0]["sha"]} if known else {}))


def once_while(here: Installation, number: int, *acts: Any) -> dict[str, Any]:
    """`agentd once`, with something that people do while the agent of the issue works."""

    def meddle() -> None:
        for _ in range(400):
            if "status:in-progress" in here.labels(number):
                break
            threading.Event().wait(0.05)
        for act in acts:
            act()

    thread = threading.Thread(target=meddle)
    thread.start()
    try:
        [run] = here.once(check=None)["runs"]
    finally:
        thread.join()
    found: dict[str, Any] = run
    return found


def steps(here: Installation) -> list[str]:
    """What the run did, from its events."""
    found: list[str] = []
    for line in (here.folder / ".agentd" / "logs" / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        found.append(f"{event['event_type']} {event['data'].get('sync_status', '')}".strip())
    return found


def content(here: Installation, path: str, ref: str) -> str:
    return base64.b64decode(here.get(f"/contents/{path}?ref={ref}")["content"]).decode()


def test_what_was_verified_on_an_old_base_is_verified_on_the_new_one(here: Installation) -> None:
    """The task's file and the base's are each fine alone; the verify command refuses both together."""
    number = here.issue()
    here.agent(
        WAITING_AGENT
        + "import os, sys\nopen('done.txt', 'w').write('x')\n"
        + "os.makedirs('__pycache__', exist_ok=True); open('__pycache__/kept', 'w').write('x')\n"
        + "if 'did not pass' in sys.stdin.read(): os.remove('new.txt')\n"
    )
    here.configure(verify="test -f done.txt && test -f __pycache__/kept && ! test -f new.txt")
    run = once_while(here, number, lambda: write(here, "new.txt", "new"))
    assert run["state"] == "in_review"
    assert [step for step in steps(here) if step.startswith(("branch_sync", "verify_started", "agent_started"))] == [
        "branch_sync clean",
        "agent_started",
        "verify_started",
        "branch_sync clean",
        "verify_started",
        "agent_started",
        "verify_started",
    ]
    [pull] = here.pulls()
    [commit] = here.get(f"/pulls/{pull['number']}/commits")
    assert [parent["sha"] for parent in commit["parents"]] == [here.get("/branches/main")["commit"]["sha"]]
    assert {row["filename"]: row["status"] for row in here.get(f"/pulls/{pull['number']}/files")} == {
        "done.txt": "added",
        "new.txt": "removed",
    }


def test_what_a_person_pushes_to_the_branch_meanwhile_is_kept(here: Installation) -> None:
    number = here.issue()
    here.agent(WAITING_AGENT + "open('done.txt', 'w').write('x')\n")
    here.configure()

    def push() -> None:
        main = here.get("/branches/main")["commit"]["sha"]
        here.act("POST", "/git/refs", {"ref": f"refs/heads/agent/issue-{number}", "sha": main})
        write(here, "person.txt", "mine", f"agent/issue-{number}")

    run = once_while(here, number, push)
    assert run["state"] == "in_review"
    [pull] = here.pulls()
    commits = here.get(f"/pulls/{pull['number']}/commits")
    assert [commit["commit"]["message"].splitlines()[0] for commit in commits] == [
        "write person.txt",
        f"feat(issue-{number}): Do it",
    ]
    assert content(here, "person.txt", pull["head"]["ref"]) == "mine"


@pytest.mark.parametrize("other", ["agent", "agent/issue-1/mine"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_branch_that_leaves_no_place_ends_the_run_and_is_named(here: Installation, other: str, when: str) -> None:
    here.agent(WAITING_AGENT + 'from pathlib import Path\nPath("done.txt").write_text("x")\n')
    sha = here.get("/git/ref/heads/main")["object"]["sha"]

    def stand_in_the_way() -> None:
        here.act("POST", "/git/refs", {"ref": f"refs/heads/{other}", "sha": sha})

    number = here.issue()
    if when == "before":
        stand_in_the_way()
        [run] = here.once(check=None)["runs"]
    else:
        run = once_while(here, number, stand_in_the_way)
    reason = f"the branch {other} on the remote stands in the way of agent/issue-{number}; rename or delete it"
    assert (run["state"], run["reason"]) == ("failed", reason)
    assert ("agent_started" in steps(here)) == (when == "meanwhile")
    assert here.labels(number) == {"agent-ready", "status:blocked"}
    here.act("DELETE", f"/git/refs/heads/{other}")
    here.act("DELETE", f"/issues/{number}/labels/status:blocked")
    here.act("POST", f"/issues/{number}/labels", {"labels": ["status:todo"]})
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"


@pytest.mark.parametrize("what", ["agent-ready", "closed"])
def test_a_run_that_nobody_wants_any_more_is_not_published_without_a_tick(here: Installation, what: str) -> None:
    here.agent(WAITING_AGENT + 'from pathlib import Path\nPath("done.txt").write_text("x")\n')
    number = here.issue()

    def take_back() -> None:
        if what == "closed":
            here.act("PATCH", f"/issues/{number}", {"state": "closed"})
        else:
            here.act("DELETE", f"/issues/{number}/labels/{what}")

    run = once_while(here, number, take_back)
    assert run["state"] == "cancelled"
    assert what in run["reason"]
    assert here.pulls("all") == []
    assert [branch["name"] for branch in here.get("/branches")] == ["main"]
    assert here.labels(number) & {"status:blocked", "status:in-progress"} == set()
    assert "done.txt" in here.run("salvage", "show", run["run_id"])


def test_a_conflict_is_tried_again_and_then_resolved_by_the_agent(here: Installation) -> None:
    number = here.issue()
    here.agent(WAITING_AGENT + CONFLICT.format(resolution="# theirs and ours\n"))
    run = once_while(here, number, lambda: write(here, "README.md", "# theirs\n"))
    assert (run["state"], run["reason"]) == ("conflict_retry", "the branch conflicts with the base")
    [sticky] = here.stickies(number)
    assert "- `README.md`" in sticky
    assert here.pulls("all") == []
    wait_over(here)
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"
    [pull] = here.pulls()
    assert content(here, "README.md", pull["head"]["ref"]) == "# theirs and ours\n"
    *_, last = here.get(f"/pulls/{pull['number']}/commits")
    assert len(last["parents"]) == 2
    assert "<<<<" not in str(here.get(f"/pulls/{pull['number']}/files"))


def test_marks_left_in_a_file_are_refused_and_the_third_failure_blocks(here: Installation) -> None:
    number = here.issue()
    here.agent(WAITING_AGENT + CONFLICT.replace("readme.write_text({resolution!r})", "pass"))
    here.configure("max_fix_rounds = 0")
    run = once_while(here, number, lambda: write(here, "README.md", "# theirs\n"))
    assert run["state"] == "conflict_retry"
    for expected in ("conflict_retry", "conflict_blocked"):
        wait_over(here)
        [run] = here.once(check=1)["runs"]
        assert (run["state"], run["reason"]) == (expected, "the conflict was not resolved")
    assert here.labels(number) == {"agent-ready", "status:blocked"}
    [sticky] = here.stickies(number)
    assert "marks of the conflict are still in README.md" in sticky
    mirror = here.folder / ".agentd" / "state" / "mirrors" / "alice" / "widget.git"
    assert git("show", f"refs/agentd/unpublished/issue-{number}:README.md", git_dir=mirror) == "# ours"


def test_where_the_profile_says_so_only_a_person_resolves(here: Installation) -> None:
    number = here.issue()
    here.agent(WAITING_AGENT + CONFLICT.format(resolution="x"))
    config = here.folder / "agentd.toml"
    config.write_text(config.read_text() + 'on_conflict = "human"\n')
    run = once_while(here, number, lambda: write(here, "README.md", "# theirs\n"))
    assert run["state"] == "conflict_retry"
    wait_over(here)
    [run] = here.once(check=1)["runs"]
    assert (run["state"], run["reason"]) == ("conflict_retry", "the branch conflicts with the base")
    assert "agent_started" not in steps(here)[steps(here).index("branch_sync non_lockfile_conflict", 12) :]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "os.makedirs('.github/workflows'); open('.github/workflows/x.yml', 'w').write('on: push')",
            "a protected path",
        ),
        ("open('blob', 'wb').write(bytes(100))", "a binary file"),
        ("os.symlink('/etc/passwd', 'link')", "a symbolic link leads out of the tree"),
        ("[open(f'f{n}', 'w') for n in range(101)]", "102 files are changed"),
        ("open('big', 'w').write('x' * 4_000_001)", "4,000,002 bytes"),
        ("open('key', 'w').write('ghp_' + 'a' * 36)", "looks like a secret"),
    ],
)
def test_a_change_that_is_not_allowed_is_given_back_to_the_agent(here: Installation, source: str, said: str) -> None:
    """A first turn that breaks a rule, a second one that mends it; without the second the run is blocked."""
    agent = (
        "import os, subprocess, sys\nopen('done.txt', 'w').write('x')\n"
        f"if 'not accepted' in sys.stdin.read():\n    subprocess.run(['git', 'clean', '-qfd', '-e', 'done.txt'])\n"
        f"else:\n    {source}\n"
    )
    here.agent(agent)
    first = here.issue()
    [run] = here.once()["runs"]
    assert run["state"] == "in_review"
    [pull] = here.pulls()
    assert {row["filename"] for row in here.get(f"/pulls/{pull['number']}/files")} == {"done.txt"}
    assert steps(here).count("policy_decided") == 1
    here.act("PATCH", f"/issues/{first}", {"state": "closed"})
    here.configure("max_fix_rounds = 0")
    number = here.issue("Again")
    [run] = here.once(check=1)["runs"]
    assert (run["state"], run["reason"]) == ("halted", "what the agent left may not be published")
    [sticky] = here.stickies(number)
    assert said in sticky
    assert "ghp_" + "a" * 36 not in sticky
    assert len(here.pulls("all")) == 1


def wait_over(here: Installation) -> None:
    """The back-off of a retry is over."""
    store = open_store("", Path(here.folder) / ".agentd" / "state", SystemClock())
    for scope in holds.holds(store):
        holds.lift(store, scope)


def test_a_base_branch_that_goes_while_an_agent_works_blocks_no_issue(here: Installation) -> None:
    here.agent(WAITING_AGENT + "open('done.txt', 'w').write('x')\n")
    number, remote = here.issue(), here.hub.world.root / f"{here.repo}.git"
    run = once_while(here, number, lambda: git("branch", "-m", "main", "trunk", git_dir=remote))
    assert (run["state"], here.labels(number)) == ("failed_retry", {"agent-ready", "status:todo"})
    assert "base branch 'main' is not on" in run["reason"]
    [kept] = json.loads(here.run("salvage", "list", "--json"))
    assert kept["changed"] == ["done.txt"]
    git("branch", "-m", "trunk", "main", git_dir=remote)
    here.run("reset", f"issue-{number}")
    assert [run["state"] for run in here.once()["runs"]] == ["in_review"]
