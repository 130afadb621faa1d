"""`agentd why` in every situation that there is: it names what really stands in the way."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from agentd.births import birth_of
from agentd.clock import SystemClock
from agentd.config import Settings
from agentd.config_tables import Trust
from agentd.errors import ConfigurationError
from agentd.model import Decision, Profile, Run, Verdict
from agentd.practice import PracticeGitHub
from agentd.run.context import new_id
from agentd.states import RunState
from agentd.store import attempts, executors, holds, runs, spending
from agentd.store.connection import Store, open_store
from agentd.store.executors import Executor
from agentd.supervisor.process import tell_draining
from agentd.supervisor.why import explain, looking
from agentd.views.why import why
from tests.supervisor.test_plan import contract

NUMBERS = itertools.count(1)
READY = ("agent-ready", "status:todo")
CONTRACT = json.loads(contract().model_dump_json())


@dataclasses.dataclass
class Scene:
    """A repository on the practice GitHub, and an installation with a living supervisor elsewhere in the fleet."""

    hub: PracticeGitHub
    repo: str
    settings: Settings
    store: Store
    sent: requests.Session

    def issue(self, title: str = "Do it", labels: tuple[str, ...] = READY, author: str = "alice") -> int:
        return self.hub.create_issue(self.repo, title, "Text.", labels, author=author)

    def act(self, method: str, path: str, body: Any = None, user: str = "alice") -> Any:
        headers = {"Authorization": f"token {self.hub.add_token(user)}"}
        url = f"{self.hub.url}/repos/{self.repo}{path}"
        answer = self.sent.request(method, url, json=body, headers=headers, timeout=20)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def set(self, **changes: Any) -> None:
        self.settings = self.settings.model_copy(update=changes)

    def contract(self, task_id: str = "P0-01", **changes: Any) -> None:
        folder = self.settings.repo_root / "tasks"
        folder.mkdir(exist_ok=True)
        (folder / f"{task_id}.json").write_text(json.dumps(CONTRACT | {"task_id": task_id} | changes))

    def run(self, task_id: str, state: RunState = RunState.running, reason: str = "", issue: int = 1) -> str:
        """A run that is, or ended, in a state."""
        now, run_id = self.store.clock.now(), new_id(self.store.clock, f"{task_id.lower()}-")
        with self.store.write() as connection:
            number = attempts.charge(self.store, connection, task_id, run_id)
            run = Run(
                run_id=run_id,
                task_id=task_id,
                issue_number=issue,
                attempt=number,
                profile="one@1",
                state=state,
                reason=reason,
                branch=f"agent/{task_id}",
                executor="host/1:1:1",
                started_at=now,
                updated_at=now,
            )
            runs.add_run(self.store, connection, run, {"task": 1})
        return run_id

    def hold(self, scope: str, rule_id: str, minutes: float | None = None) -> None:
        until = datetime.now(UTC) + timedelta(minutes=minutes) if minutes else None
        held = {"decision": Decision.hold, "observed": "because", "action": "wait", "retry_at": until}
        holds.hold(self.store, Verdict(control="c", rule_id=rule_id, scope=scope, **held), lambda _: None)

    def host(self, **changes: Any) -> None:
        """The supervisor's heartbeat."""
        told = {"executor": "host/1:1:1", "place": "host/1", "version": "0.1.0", "contract": "1", "capacity": 9}
        mine = Executor(**{**told, "agents": ("command x",), "leads": True, **changes})
        executors.beat(self.store, mine, 90.0)

    def claim(self, task_id: str, minutes: float = 0.0) -> None:
        """Another installation's claim on the remote, renewed so many minutes ago."""
        at = datetime.now(UTC) - timedelta(minutes=minutes)
        words = {"installation": "other", "holder": "other/host", "lease_seconds": 600, "at": at.isoformat()}
        head = self.act("GET", "/git/ref/heads/main")["object"]["sha"]
        tree = self.act("GET", f"/git/commits/{head}")["tree"]["sha"]
        made = self.act("POST", "/git/commits", {"message": json.dumps(words), "tree": tree, "parents": [head]})
        self.act("POST", "/git/refs", {"ref": f"refs/agentd/claims/{task_id}", "sha": made["sha"]})


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeGitHub]:
    with PracticeGitHub(tmp_path_factory.mktemp("github")) as made:
        for name, kind in (("alice", "User"), ("bot", "User"), ("mallory", "User"), ("robot[bot]", "Bot")):
            made.add_user(name, type=kind)
        yield made


@pytest.fixture
def scene(hub: PracticeGitHub, tmp_path: Path) -> Iterator[Scene]:
    repo = f"alice/r{next(NUMBERS)}"
    hub.add_repo(repo)
    hub.grant(repo, "bot", "write")
    settings = Settings(
        repo=repo,
        token=SecretStr(hub.add_token("bot")),
        github_api_url=hub.url,
        github_server_url=hub.url,
        verify_command="true",
        profiles={
            "one": Profile(name="one", adapter="command", command=("x",)),
            "two": Profile(name="two", adapter="command", command=("y",)),
        },
        profile="one",
        state_dir=tmp_path / "state",
        log_dir=tmp_path / "logs",
        worktree_base=tmp_path / "work",
        repo_root=tmp_path,
    )
    store = open_store("", settings.state_dir, SystemClock())
    with requests.Session() as sent:
        sent.trust_env = False
        made = Scene(hub, repo, settings, store, sent)
        made.host()
        yield made
    store.close()


def nothing(scene: Scene) -> str:
    return "#77"


def a_pull_request(scene: Scene) -> str:
    scene.hub.commit(scene.repo, "side", {"x": "1"})
    return f"#{scene.act('POST', '/pulls', {'title': 't', 'head': 'side', 'base': 'main'})['number']}"


def a_strange_id(scene: Scene) -> str:
    return "P3-99"


def a_contract_without_issue(scene: Scene) -> str:
    scene.contract()
    return "P0-01"


def closed(how: str) -> Callable[[Scene], str]:
    def arrange(scene: Scene) -> str:
        number = scene.issue()
        scene.act("PATCH", f"/issues/{number}", {"state": "closed", "state_reason": how})
        return f"#{number}"

    return arrange


def labelled(*labels: str) -> Callable[[Scene], str]:
    return lambda scene: f"#{scene.issue(labels=labels)}"


def blocked_after(state: RunState, reason: str) -> Callable[[Scene], str]:
    def arrange(scene: Scene) -> str:
        number = scene.issue(labels=("agent-ready", "status:blocked"))
        scene.run(f"issue-{number}", state, reason, number)
        return f"#{number}"

    return arrange


def attempts_spent(scene: Scene) -> str:
    number = scene.issue(labels=("agent-ready", "status:blocked"))
    for state in (RunState.failed_retry, RunState.failed):
        attempts.settle(scene.store, scene.run(f"issue-{number}", state, "exit status 3", number), "agent")
    return f"#{number}"


def held(scope: str, rule_id: str, minutes: float | None = None) -> Callable[[Scene], str]:
    def arrange(scene: Scene) -> str:
        number = scene.issue()
        scene.hold(scope.replace("TASK", f"issue-{number}"), rule_id, minutes)
        return f"#{number}"

    return arrange


def named(title: str, broken: bool = False) -> Callable[[Scene], str]:
    def arrange(scene: Scene) -> str:
        if broken:
            scene.contract(priority="urgent")
        return f"#{scene.issue(title)}"

    return arrange


def having(labels: tuple[str, ...] = READY, **settings: Any) -> Callable[[Scene], str]:
    def arrange(scene: Scene) -> str:
        scene.set(**settings)
        return f"#{scene.issue(labels=labels)}"

    return arrange


def depending(state: str) -> Callable[[Scene], str]:
    """On another task by its contract, which is open or closed in some way."""

    def arrange(scene: Scene) -> str:
        scene.contract("P0-01", dependencies=["P0-02"])
        scene.contract("P0-02")
        other = scene.issue("[P0-02] other", labels=("agent-ready", "status:in-progress"))
        if state != "open":
            scene.act("PATCH", f"/issues/{other}", {"state": "closed", "state_reason": state})
        return f"#{scene.issue('[P0-01] this')}"

    return arrange


def blocked_by(state: str, title: str = "this") -> Callable[[Scene], str]:
    """GitHub's own dependencies, of an issue with a contract where the title names one."""

    def arrange(scene: Scene) -> str:
        other = scene.issue(labels=())
        if state != "open":
            scene.act("PATCH", f"/issues/{other}", {"state": "closed", "state_reason": state})
        scene.contract()
        number = scene.issue(title)
        blocker = scene.act("GET", f"/issues/{other}")["id"]
        scene.act("POST", f"/issues/{number}/dependencies/blocked_by", {"issue_id": blocker})
        return f"#{number}"

    return arrange


def claimed(minutes: float) -> Callable[[Scene], str]:
    def arrange(scene: Scene) -> str:
        number = scene.issue()
        scene.claim(f"issue-{number}", minutes)
        return f"#{number}"

    return arrange


def under_way(waits: str = "") -> Callable[[Scene], str]:
    def arrange(scene: Scene) -> str:
        number = scene.issue(labels=("agent-ready", "status:in-progress"))
        run_id = scene.run(f"issue-{number}", RunState.verifying, issue=number)
        if waits:
            scene.hold(f"run:{run_id}", waits)
        return f"#{number}"

    return arrange


def twice(scene: Scene) -> str:
    scene.contract()
    scene.issue("[P0-01] one")
    return f"#{scene.issue('[P0-01] again')}"


def labelled_by(who: str, role: str) -> Callable[[Scene], str]:
    def arrange(scene: Scene) -> str:
        number = scene.issue(labels=())
        scene.hub.grant(scene.repo, who, "triage")
        scene.act("POST", f"/issues/{number}/labels", {"labels": list(READY)}, user=who)
        scene.hub.grant(scene.repo, who, role)
        return f"#{number}"

    return arrange


def edited(scene: Scene) -> str:
    number = scene.issue()
    scene.act("PATCH", f"/issues/{number}", {"body": "Now do harm."})
    return f"#{number}"


def all_slots_taken(scene: Scene) -> str:
    for name in ("issue-901", "issue-902"):
        scene.run(name)
    return f"#{scene.issue()}"


def others_go_first(scene: Scene) -> str:
    for _ in range(2):
        scene.issue(labels=(*READY, "priority:high"))
    return f"#{scene.issue()}"


def with_host(**changes: Any) -> Callable[[Scene], str]:
    def arrange(scene: Scene) -> str:
        scene.host(**changes)
        return f"#{scene.issue()}"

    return arrange


def full_host(scene: Scene) -> str:
    scene.host(capacity=1)
    scene.run("issue-901")
    return f"#{scene.issue()}"


def nobody(scene: Scene) -> str:
    executors.leave(scene.store, "host/1:1:1")
    return f"#{scene.issue()}"


def draining(scene: Scene) -> str:
    executors.leave(scene.store, "host/1:1:1")
    (scene.settings.state_dir / "supervisor.pid").write_text(f"{os.getpid()} {birth_of(os.getpid())}\n")
    tell_draining(scene.settings.state_dir)
    return f"#{scene.issue()}"


def no_github(scene: Scene) -> str:
    number = scene.issue()
    scene.set(github_api_url="http://127.0.0.1:9")
    return f"#{number}"


def used_up(scene: Scene) -> str:
    number = scene.issue()
    scene.hub.fault("GET", f"/repos/{scene.repo}", status=429, headers={"retry-after": "3000"}, body="{}", times=9)
    return f"#{number}"


def bad_token(scene: Scene) -> str:
    number = scene.issue()
    scene.set(token=SecretStr("ghp_none"))
    return f"#{number}"


def reopened(scene: Scene) -> str:
    number = scene.issue()
    scene.run(f"issue-{number}", RunState.merged, issue=number)
    return f"#{number}"


SITUATIONS: list[tuple[str, Callable[[Scene], str], str, str]] = [
    ("an unknown number", nothing, "issue_unknown", "has no issue #77"),
    ("a pull request", a_pull_request, "pull_request", "is a pull request"),
    ("an unknown task", a_strange_id, "issue_unknown", "neither a contract"),
    ("a contract without an issue", a_contract_without_issue, "no_issue", "[P0-01]"),
    ("closed", closed("completed"), "closed", "as completed"),
    ("closed as not planned", closed("not_planned"), "closed", "as not planned"),
    ("no label", labelled(), "not_ready", "no label agent-ready"),
    ("a status alone", labelled("status:todo"), "not_ready", "no label agent-ready"),
    ("no status label", labelled("agent-ready"), "no_status", "no status label"),
    ("in progress elsewhere", labelled("agent-ready", "status:in-progress"), "in_progress", "not by this"),
    ("in review", labelled("agent-ready", "status:in-review"), "in_review", "pull request is open"),
    ("blocked by a person", labelled("agent-ready", "status:blocked"), "blocked", "set by a person"),
    ("verify failed", blocked_after(RunState.verify_failed, "tests fail"), "blocked", "verify_failed: tests fail"),
    ("a protected path", blocked_after(RunState.failed, "changes CODEOWNERS"), "blocked", "changes CODEOWNERS"),
    ("attempts spent", attempts_spent, "blocked", "failed: exit status 3"),
    ("paused", held("pause", "paused"), "paused", "because"),
    ("its profile paused", held("pause:one", "paused"), "paused", "because"),
    ("another profile paused", held("pause:two", "paused"), "", ""),
    ("claim refs refused", held("*", "claim_ref_refused", 5), "claim_ref_refused", "because"),
    ("an invalid contract", named("[P0-01] x", broken=True), "contract_invalid", "urgent"),
    ("a missing contract", named("[P0-01] x"), "contract_missing", "tasks/P0-01.json"),
    ("no verify command", having(verify_command=""), "no_verify_command", "no verify command"),
    ("an unknown profile", having((*READY, "profile:three")), "profile_unknown", "'three'"),
    ("an untrusted profile", having(layout="worktree"), "profile_untrusted", "one"),
    ("quota", held("profile:one", "model_quota", 5), "model_quota", "because"),
    ("quota that is back", held("profile:one", "model_quota", -5), "", ""),
    ("the budget of the day", held("profile:one", "budget_day_usd", 5), "budget_day_usd", "because"),
    ("a breaker", held("profile:one", "breaker_open", 5), "breaker_open", "because"),
    ("a dependency that is open", depending("open"), "dependencies", "P0-02"),
    ("a dependency closed as not planned", depending("not_planned"), "dependencies", "P0-02"),
    ("a dependency that is done", depending("completed"), "", ""),
    ("blocked by an open issue", blocked_by("open"), "dependencies", "blocked by #1"),
    ("a contract, and blocked by an open issue", blocked_by("open", "[P0-01] this"), "dependencies", "blocked by #1"),
    ("blocked by one that is not planned", blocked_by("not_planned"), "dependencies", "blocked by #1"),
    ("blocked by a duplicate", blocked_by("duplicate"), "dependencies", "blocked by #1"),
    ("blocked by one that is done", blocked_by("completed"), "", ""),
    ("backoff", held("TASK", "backoff", 5), "backoff", "because"),
    ("claimed elsewhere, as a run found", held("TASK", "claim_elsewhere", 5), "claim_elsewhere", "because"),
    ("claimed elsewhere", claimed(1), "claim_elsewhere", "other/host has it"),
    ("a claim that ran out", claimed(30), "", ""),
    ("under way", under_way(), "running", "is verifying"),
    ("under way, and waits", under_way("rate_limit_primary"), "running", "and waits: because"),
    ("the same task twice", twice, "same_task", "#1"),
    ("labelled by a stranger", labelled_by("mallory", "read"), "labeler_permission", "mallory"),
    ("labelled by a bot", labelled_by("robot[bot]", "write"), "bot_id", "robot[bot]"),
    ("edited after approval", edited, "edited_after_approval", "edited at"),
    ("no slot", all_slots_taken, "no_slot", "2 runs at once"),
    ("others go first", others_go_first, "no_slot", "first issue-1, issue-2"),
    ("no host has its agent", with_host(agents=("claude",)), "no_host", "`command x`"),
    ("the host is closed", with_host(closed="short of memory"), "host_closed", "short of memory"),
    ("the host is full", full_host, "hosts_full", "all it may"),
    ("GitHub asked for a pause", held("github", "rate_limit_secondary", 5), "rate_limit_secondary", "because"),
    ("GitHub is away", no_github, "github_unavailable", "no answer"),
    ("GitHub's quota is used up", used_up, "rate_limit_secondary", "429"),
    ("a bad token", bad_token, "github_unavailable", "401"),
    ("no supervisor", nobody, "no_supervisor", "no supervisor runs"),
    ("a supervisor that was told to stop", draining, "draining", "drains"),
    ("merged and opened again", reopened, "", ""),
    ("nothing", lambda scene: f"#{scene.issue()}", "", ""),
]


@pytest.mark.parametrize(
    ("arrange", "rule_id", "said"), [row[1:] for row in SITUATIONS], ids=[row[0] for row in SITUATIONS]
)
def test_the_true_cause_is_named(scene: Scene, arrange: Callable[[Scene], str], rule_id: str, said: str) -> None:
    reference = arrange(scene)
    context = looking(scene.settings, {})
    found = explain(context, reference)
    context.store.close()
    cause = found.causes[0] if found.causes else None
    assert (cause.rule_id if cause else "") == rule_id, found.causes
    assert cause is None or (said in cause.observed and (cause.action or "rate_limit" in rule_id))


def test_there_are_enough_situations() -> None:
    assert len(SITUATIONS) >= 50
    assert len({row[2] for row in SITUATIONS}) >= 30


def test_nothing_is_written(scene: Scene) -> None:
    number = scene.issue()
    before = len(scene.hub.log)
    state = sorted((path, path.stat().st_mtime_ns) for path in scene.settings.state_dir.iterdir())
    why(scene.settings, {}, f"#{number}")
    assert {record.method for record in scene.hub.log[before:] if not record.path.endswith("graphql")} == {"GET"}
    assert sorted((path, path.stat().st_mtime_ns) for path in scene.settings.state_dir.iterdir()) == state


def test_the_view_has_history_money_attempts_and_timers(scene: Scene) -> None:
    number = scene.issue()
    run_id = scene.run(f"issue-{number}", RunState.failed_retry, "exit status 3", number)
    attempts.settle(scene.store, run_id, "agent")
    scene.hold(f"issue-{number}", "backoff", 5)
    call = spending.Call(
        *("c1", "g", run_id, f"issue-{number}", "one", "m", "chat", "u", "2026-01-01", "settled", 200, 0),
        *(900, 100, 0, 0, 0, 2_500_000_000, 2.5, "", "2026-01-01", None),
    )
    with scene.store.write() as connection:
        spending.add_calls(scene.store, connection, [call])
    found = why(scene.settings, {}, f"issue-{number}")
    assert found["cause"]["rule_id"] == "backoff"
    assert found["attempts"]["agent"] == {"used": 1, "limit": 2}
    assert found["spent"] == {"calls": 1, "tokens": 1000, "usd": 2.5}
    assert [change["after"] for change in found["transitions"]] == ["failed_retry"]
    assert found["timers"][0]["what"] == "because"
    assert found["what_would_change_it"] == ["wait"]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("form", ["{n}", "#{n}", "{repo}#{n}", "http://github.com/{repo}/issues/{n}", "issue-{n}"])
def test_an_issue_may_be_named_in_many_ways(scene: Scene, form: str) -> None:
    number = scene.issue()
    found = why(scene.settings, {}, form.format(n=number, repo=scene.repo))
    assert (found["issue_number"], found["starts"]) == (number, True)


@pytest.mark.parametrize("form", ["", "seven", "0", "-1", "other/repo#1", "http://x/other/repo/issues/1", "a/b/c#1"])
def test_what_names_no_issue_here_is_refused(scene: Scene, form: str) -> None:
    with pytest.raises(ConfigurationError, match=r"names no issue|is not of alice/"):
        why(scene.settings, {}, form)


def test_no_secret_is_in_the_view(scene: Scene) -> None:
    canary = "canary-7f3a9c1e5b2d"
    number = scene.issue(f"Leak {canary}", ("agent-ready", "status:blocked"))
    scene.run(f"issue-{number}", RunState.failed, f"said {canary}", number)
    found = json.dumps(why(scene.settings, {"SOME_TOKEN": canary}, str(number)))
    assert "***REDACTED***" in found and canary not in found


def test_before_the_first_start_there_is_an_answer_too(scene: Scene, tmp_path: Path) -> None:
    number = scene.issue()
    scene.set(state_dir=tmp_path / "none", trust=Trust())
    found = why(scene.settings, {}, str(number))
    assert found["cause"]["rule_id"] == "no_supervisor"
    assert not (tmp_path / "none").exists()
