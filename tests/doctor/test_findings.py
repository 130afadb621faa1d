"""Every finding: the world is put into the bad state, the finding is there, its remedy is run as printed, it goes."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from agentd.doctor import claims as claims_group
from agentd.doctor.examine import CODES, UNFINISHED, examine
from agentd.doctor.finding import Code, Finding
from agentd.doctor.visit import Visit
from agentd.git.runner import git
from agentd.git.salvage import Manifest, message, salvage_ref
from agentd.model import Decision, Verdict
from agentd.policy.budgets import Amount, Meter
from agentd.states import RunState
from agentd.store import attempts, claims, executors, holds, schema, spending
from agentd.store.executors import Executor
from agentd.store.ticks import TickNote, note_tick
from agentd.supervisor.process import running
from tests.conftest import path_without
from tests.doctor.conftest import Place

Arrange = Callable[[Place], object]
ALWAYS_OK = {
    *("github.identity", "labels.counts", "claims.live", "runs.history", "runs.states", "runs.running"),
    *("runs.latest_failed", "runs.latest_log"),
}
"""Codes that only tell."""


def environ(**values: str) -> Arrange:
    return lambda place: place.environ.update(values)


def without(*names: str) -> Arrange:
    def arrange(place: Place) -> None:
        for name in names:
            del place.environ[name]

    return arrange


def broken_settings_file(place: Place) -> None:
    place.configure("max_paralel = 2")
    place.environ["EDITOR"] = "sed -i s/max_paralel/max_parallel/"


def broken_contract(place: Place) -> None:
    (place.folder / "tasks").mkdir()
    (place.folder / "tasks" / "P0-01.json").write_text("{")
    place.environ["EDITOR"] = "rm"


def no_gateway(place: Place) -> None:
    place.configure("gateway.enabled = false")
    place.environ["EDITOR"] = "sed -i s/false/true/"


def no_network(place: Place) -> None:
    url = place.environ["GITHUB_API_URL"]
    place.environ["GITHUB_API_URL"] = "http://127.0.0.1:9"
    place.effects["curl"] = lambda words: place.environ.update(GITHUB_API_URL=url)  # it comes back by itself


def renamed(place: Place) -> None:
    name = f"{place.repo.partition('/')[2]}-new"
    place.act("PATCH", "", {"name": name})
    place.repo = f"alice/{name}"


def repository(**changes: bool) -> Arrange:
    def arrange(place: Place) -> None:
        place.act("PATCH", "", changes)

    return arrange


def reader(place: Place) -> None:
    place.hub.grant(place.repo, "bot", "read")


def other_base(place: Place) -> None:
    place.environ["BASE_BRANCH"] = "develop"
    git("clone", "--quiet", f"{place.hub.url}/{place.repo}.git", "checkout", cwd=place.folder)
    token = place.hub.add_token("alice")
    address = place.hub.url.replace("http://", f"http://alice:{token}@")
    place.effects["git"] = lambda words: git(
        *(word.replace(place.hub.url, address) for word in words), cwd=place.folder / "checkout"
    )


def few_requests(place: Place) -> None:
    place.hub.set_rate_limit(5000, remaining=120, reset_in=1)


def wrong_clock(place: Place) -> None:
    place.ahead = timedelta(minutes=7)
    place.effects["sudo"] = lambda words: setattr(place, "ahead", timedelta())


def contracts(place: Place, **needs: list[str]) -> None:
    from tests.supervisor.test_why import CONTRACT

    (place.folder / "tasks").mkdir()
    for name, dependencies in needs.items():
        task_id = name.replace("_", "-")
        written = json.dumps(CONTRACT | {"task_id": task_id, "dependencies": dependencies})
        (place.folder / "tasks" / f"{task_id}.json").write_text(written)


def all_wait(place: Place) -> None:
    contracts(place, P0_01=["P0-02"], P0_02=[])
    place.issue("status:todo", title="[P0-01] this")
    other = place.issue("status:in-progress", title="[P0-02] other")
    closing = {"state": "closed", "state_reason": "completed"}
    place.effects["agentd"] = lambda words: place.act("PATCH", f"/issues/{other}", closing)  # it was finished


def waits_for_blocked(place: Place) -> None:
    contracts(place, P0_01=["P0-02"], P0_02=["P0-03"], P0_03=[])
    place.issue("status:todo", title="[P0-01] this")
    place.issue("status:blocked", title="[P0-02] other")
    place.issue("status:in-progress", title="[P0-03] third")


def stale_claim(place: Place) -> None:
    claims.acquire(place.store, "issue-1", "other/host", "r", 90.0)
    claims.expire_holder(place.store, "other/host")


def dead_run(place: Place) -> None:
    place.run("issue-1", RunState.preparing)
    place.effects["agentd"] = lambda words: heartbeat(place)


def untaken_run(place: Place) -> None:
    run_id = place.run("issue-1", RunState.queued, minutes_ago=30, executor="")
    place.effects["agentd"] = lambda words: taken(place, run_id)


def heartbeat(place: Place, **changes: object) -> None:
    """A start of agentd, as far as the store sees it."""
    told = {"executor": "host/1:1:1", "place": "host/1", "version": "0.1.0", "contract": "1", "capacity": 2}
    executors.beat(place.store, Executor(**{**told, "leads": True, **changes}), 90.0)  # type: ignore[arg-type]


def taken(place: Place, run_id: str) -> None:
    from agentd.store import runs

    heartbeat(place)
    assert runs.reassign(place.store, run_id, "", "host/1:1:1")


def long_run(place: Place) -> None:
    heartbeat(place)
    place.run("issue-1", RunState.verifying, minutes_ago=600)


def silent_run(place: Place) -> None:
    heartbeat(place)
    place.run("issue-1", RunState.running, minutes_ago=100)


def open_folder(name: str) -> Arrange:
    def arrange(place: Place) -> None:
        folder = place.folder / ".agentd" / name
        folder.mkdir(parents=True)
        folder.chmod(0o755)

    return arrange


def file_instead(place: Place) -> None:
    place.state_dir.parent.mkdir()
    place.state_dir.write_text("no folder")


def store_of(text: str) -> Arrange:
    def arrange(place: Place) -> None:
        place.state_dir.mkdir(parents=True, mode=0o700)
        (place.state_dir / "agentd.db").write_text(text)

    return arrange


def sql(place: Place, *statements: str) -> None:
    _ = place.store
    with sqlite3.connect(place.state_dir / "agentd.db") as connection:
        for statement in statements:
            connection.execute(statement)


def newer_store(place: Place) -> None:
    sql(place, "UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    place.effects["pip"] = lambda words: sql(
        place, f"UPDATE meta SET value = '{schema.VERSION}' WHERE key = 'schema_version'"
    )


def damaged_page(place: Place) -> None:
    for number in range(200):
        place.run(f"issue-{number + 1}", RunState.merged)
    place.store.close()
    path = place.state_dir / "agentd.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'transitions'").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096 + 8)
        file.write(b"\xff" * 200)


def damaged_engine(place: Place) -> None:
    place.state_dir.mkdir(parents=True, mode=0o700)
    (place.state_dir / "engine.db").write_text("nonsense " * 1000)


def changed_ledger(place: Place) -> None:
    from agentd.store import ledger
    from tests.store.test_store import an_event

    for number in range(5):
        ledger.append(place.store, an_event(place.store, number))
    sql(place, "DROP TRIGGER events_no_update", "UPDATE events SET body = '{}' WHERE seq = 3")


def old_git(place: Place) -> None:
    folder = place.folder / "old"
    folder.mkdir()
    program = folder / "git"
    program.write_text("#!/bin/sh\necho git version 2.30.1\n")
    program.chmod(0o755)
    place.environ["PATH"] = f"{folder}:{place.environ['PATH']}"
    place.effects["sudo"] = lambda words: program.unlink()


def no_git(place: Place) -> None:
    path = place.environ["PATH"]
    place.environ["PATH"] = path_without("git", path, place.folder / "programs")
    place.effects["sudo"] = lambda words: place.environ.update(PATH=path)


def mirror(place: Place) -> Path:
    _ = place.store
    path = place.state_dir / "mirrors" / f"{place.repo}.git"
    path.parent.mkdir(parents=True)
    git("clone", "--quiet", "--mirror", f"{place.hub.url}/{place.repo}.git", str(path), cwd=place.folder)
    return path


def shallow_mirror(place: Place) -> None:
    (mirror(place) / "shallow").write_text("")


def strange_workspace(place: Place) -> None:
    _ = place.store
    (place.folder / "worktrees" / "issue-7").mkdir(parents=True)


def strange_branch(place: Place) -> None:
    mirror(place)
    place.hub.commit(place.repo, "agent/issue-7", {"x": "1"})


def pushed_after_merge(place: Place) -> None:
    mirror(place)
    before = place.hub.commit(place.repo, "agent/issue-7", {"x": "1"})
    place.run("issue-7", RunState.merged, head_sha=before)
    place.hub.commit(place.repo, "agent/issue-7", {"x": "2"})


def salvaged(place: Place) -> None:
    path = mirror(place)
    head = git("rev-parse", "main", git_dir=path)
    text = message(Manifest("issue-7", "issue-7-1-aaaaaa", "it failed", head))
    who = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    sha = git("commit-tree", f"{head}^{{tree}}", "-p", head, "-m", text, git_dir=path, environment=who)
    git("update-ref", salvage_ref("issue-7", "issue-7-1-aaaaaa"), sha, git_dir=path)


def tool_chain_with_credentials(place: Place) -> None:
    folder = place.folder / "python"
    for name in ("bin", "lib/python3.12", ".ssh"):
        (folder / name).mkdir(parents=True)
    (folder / "lib" / "python3.12" / "os.py").write_text("")
    (folder / "bin" / "python3").write_text("#!/bin/sh\n")
    (folder / "bin" / "python3").chmod(0o755)
    place.environ["PATH"] = f"{folder / 'bin'}:{place.environ['PATH']}"


def absent_program(place: Place) -> None:
    program = place.folder / "bin" / "robot"
    place.configure(f'[profiles.one]\nadapter = "command"\ncommand = ["{program}"]\n')

    def install(words: list[str]) -> None:
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)

    place.effects["command"] = install  # the command shows that it is missing; a person installs it


def broken_program(place: Place) -> None:
    program = place.folder / "robot"
    program.write_text("#!/bin/sh\necho broken; exit 3\n")
    program.chmod(0o755)
    place.configure(f'[profiles.one]\nadapter = "command"\ncommand = ["{program}"]\n')
    place.effects[str(program)] = lambda words: program.write_text("#!/bin/sh\necho robot 1.0\n")


def no_service(place: Place) -> None:
    place.configure('[profiles.one]\nadapter = "builtin"\nmodel = "m"\n')


def budget_used(place: Place) -> None:
    place.configure(budget := "budgets.day.usd = 10\n")
    assert budget
    scope = f"day:{datetime.now(UTC):%Y-%m-%d}"
    with spending.Transactions(place.store).transaction() as connection:
        spending.save_meters(place.store, connection, {scope: Meter(Amount(9_500_000_000, 10, 1))})


def living_supervisor(place: Place, at: datetime | None = None) -> None:
    _ = place.store
    heartbeat(place)
    now = at or datetime.now(UTC)
    note_tick(place.store, TickNote(now, now + timedelta(minutes=1)))


def no_tick(place: Place) -> None:
    living_supervisor(place, datetime.now(UTC) - timedelta(minutes=30))
    place.effects["agentd"] = lambda words: living_supervisor(place)


def other_version(place: Place) -> None:
    heartbeat(place, version="0.0.9")
    place.effects["agentd"] = lambda words: heartbeat(place)


def silent_worker(place: Place) -> None:
    executors.beat(place.store, Executor("host/1:1:1", "host/1", "0.1.0", "1", 2), 0.0)
    place.effects["agentd"] = lambda words: heartbeat(place)


def paused(profile: str | None = None) -> Arrange:
    words = ("--profile", profile) if profile else ()
    return lambda place: (place.store, place.agentd("pause", *words))


def held(scope: str, seconds: float | None = None) -> Arrange:
    def arrange(place: Place) -> None:
        until = datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None
        told = {"decision": Decision.hold, "observed": "because", "retry_at": until}
        holds.hold(place.store, Verdict(control="c", rule_id="rule", scope=scope, **told), lambda _: None)  # type: ignore[arg-type]

    return arrange


NOT_HERE = {"sandbox.limits"}
"""It asks for two programs of the system itself, which no test takes away."""
SITUATIONS: list[tuple[str, str, Arrange]] = [
    ("configuration.settings", "a variable", environ(MAX_PARALLEL="many")),
    ("configuration.settings", "no name", environ(REPO="widget")),
    ("configuration.settings", "a key", broken_settings_file),
    ("configuration.repo", "none", without("REPO")),
    ("configuration.verify_command", "none", without("VERIFY_COMMAND")),
    ("configuration.contracts", "no JSON", broken_contract),
    ("configuration.profile", "unknown", environ(AGENTD_PROFILE="three")),
    ("github.token", "none", without("EXECUTOR_BOT_TOKEN")),
    ("github.token", "wrong", environ(EXECUTOR_BOT_TOKEN="ghp_wrong")),
    ("github.reached", "no network", no_network),
    ("github.access", "not there", environ(REPO="alice/nothing")),
    ("github.access", "renamed", renamed),
    ("github.access", "no issues", repository(has_issues=False)),
    ("github.rights", "a reader", reader),
    ("github.base_branch", "not there", other_base),
    ("github.protection", "none", lambda place: None),
    ("github.limits", "few", few_requests),
    ("github.clock", "wrong", wrong_clock),
    ("labels.missing", "all", lambda place: None),
    ("labels.unclear", "none", lambda place: place.issue()),
    ("labels.unclear", "two", lambda place: place.issue("status:todo", "status:in-review")),
    ("labels.ready", "all wait", all_wait),
    ("labels.dependencies", "for a blocked one", waits_for_blocked),
    ("labels.blocked_roots", "one", lambda place: place.issue("status:blocked")),
    ("stranded.tasks", "in progress", lambda place: place.issue("status:in-progress", minutes_ago=60)),
    ("stranded.review", "in review", lambda place: place.issue("status:in-review", minutes_ago=60)),
    ("claims.stale", "over", stale_claim),
    ("runs.dead", "no heartbeat", dead_run),
    ("runs.untaken", "by nobody", untaken_run),
    ("runs.over_time", "ten hours", long_run),
    ("runs.stuck", "silent", silent_run),
    ("store.state_dir", "open", open_folder("state")),
    ("store.state_dir", "a file", file_instead),
    ("store.log_dir", "open", open_folder("logs")),
    ("store.file", "no database", store_of("nonsense " * 1000)),
    ("store.file", "newer", newer_store),
    ("store.integrity", "a page", damaged_page),
    ("store.engine", "no database", damaged_engine),
    ("store.ledger", "changed", changed_ledger),
    ("store.disk", "too little", environ(AGENTD_MAX_DISK_MIB="900000000")),
    ("git.version", "old", old_git),
    ("git.version", "none", no_git),
    ("git.mirror", "shallow", shallow_mirror),
    ("git.workspaces", "unknown", strange_workspace),
    ("git.branches", "unknown", strange_branch),
    ("git.branches", "unproven", pushed_after_merge),
    ("git.salvage", "waits", salvaged),
    ("sandbox.holds", "switched off", environ(AGENTD_SANDBOX="none")),
    ("sandbox.tool_chains", "in a home", tool_chain_with_credentials),
    ("workspaces.layout", "worktree", environ(AGENTD_WORKSPACE_LAYOUT="worktree")),
    ("agents.installed", "absent", absent_program),
    ("agents.allow_list", "all", environ(DEEPAGENTS_SHELL_ALLOW_LIST="all")),
    ("agents.allow_list", "recommended", environ(DEEPAGENTS_SHELL_ALLOW_LIST="recommended")),
    ("agents.allow_list", "few", environ(DEEPAGENTS_SHELL_ALLOW_LIST="git,ls")),
    ("agents.smoke", "exit 3", broken_program),
    ("gateway.enabled", "off", no_gateway),
    ("gateway.service", "none", no_service),
    ("gateway.budgets", "used up", budget_used),
    ("tracing.key", "a project", environ(LANGSMITH_PROJECT="p")),
    ("tracing.key", "switched on", environ(LANGSMITH_TRACING="true")),
    ("tracing.project", "two", environ(LANGSMITH_PROJECT="p", LANGCHAIN_PROJECT="q")),
    ("supervisor.tick", "long ago", no_tick),
    ("supervisor.version", "older", other_version),
    ("supervisor.heartbeat", "silent", silent_worker),
    ("supervisor.paused", "all", paused()),
    ("supervisor.paused", "a profile", paused("one")),
    ("supervisor.held", "until a time", held("github", 1.2)),
    ("supervisor.held", "for good", held("*")),
]


@pytest.fixture(autouse=True)
def _in_order(place: Place) -> Iterator[None]:
    path = os.environ["PATH"]
    yield
    os.environ["PATH"] = path
    place.hub_clock.ahead = timedelta()


def bad(findings: list[Finding], code: str) -> list[Finding]:
    return [finding for finding in findings if finding.code == code and finding.level != "ok"]


@pytest.mark.parametrize(
    ("code", "arrange"), [(row[0], row[2]) for row in SITUATIONS], ids=[" ".join(row[:2]) for row in SITUATIONS]
)
def test_a_finding_goes_when_its_remedy_was_run_as_printed(place: Place, code: str, arrange: Arrange) -> None:
    place.fill_in = {"OWNER/NAME": place.repo, "KEY": "sk-key", "TOKEN": place.hub.add_token("bot")}
    place.fill_in = {f"={word}": f"={text}" for word, text in place.fill_in.items()}
    arrange(place)
    group, smoke = code.partition(".")[0], code == "agents.smoke"
    found = bad(place.look(group, smoke=smoke), code)
    assert found, "the trouble is seen"
    for finding in found:
        assert finding.message and finding.remediation
        place.paste(finding.remediation)
    again = place.look(group, smoke=smoke)
    assert bad(again, code) == []
    assert UNFINISHED.code not in {finding.code for finding in again}


def test_every_code_has_a_situation() -> None:
    told = {row[0] for row in SITUATIONS} | {"supervisor.running", UNFINISHED.code}
    assert {code.code for code in CODES} == told | ALWAYS_OK | NOT_HERE
    assert len({code.code for code in CODES}) == len(CODES)


def test_a_stopped_supervisor_is_started_as_printed(place: Place) -> None:
    [finding] = bad(place.look("supervisor"), "supervisor.running")
    assert finding.remediation == "agentd start"
    environ = {**place.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    try:
        done = subprocess.run(
            [sys.executable, "-m", *finding.remediation.split()],
            cwd=place.folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert bad(place.look("supervisor"), "supervisor.running") == []
    finally:
        if running(place.state_dir):
            place.agentd("stop", "--now")


def test_a_group_that_breaks_hides_no_other(place: Place) -> None:
    class Broken:
        CODES: tuple[Code, ...] = ()

        def checks(self, visit: Visit) -> Iterator[Finding]:
            yield claims_group.LIVE.ok("one")
            raise RuntimeError("told by a mistake")

    _ = place.store
    found = examine(place.visit(), groups={"broken": Broken(), "claims": claims_group})
    assert [finding.code for finding in found] == ["doctor.unfinished", "claims.stale", "claims.live"]
    assert "RuntimeError: told by a mistake" in found[0].message


def test_trouble_with_github_is_one_line_and_ends_nothing_else(place: Place) -> None:
    place.environ["GITHUB_API_URL"] = "http://127.0.0.1:9"
    found = place.look()
    assert [finding.code for finding in found if finding.level == "fail"] == ["github.reached"]
    assert {"store.file", "sandbox.holds", "agents.installed"} <= {finding.code for finding in found}
    assert not [finding for finding in found if finding.code.startswith("labels.")]


def test_without_a_token_it_is_one_line(place: Place) -> None:
    del place.environ["EXECUTOR_BOT_TOKEN"]
    assert [finding.code for finding in place.look() if finding.level == "fail"] == ["github.token"]


def test_a_blocked_root_is_requeued_by_the_exact_command(place: Place) -> None:
    numbers = [place.issue("status:blocked") for _ in range(4)]
    [finding] = bad(place.look("labels"), "labels.blocked_roots")
    assert finding.remediation.splitlines() == [
        f"gh issue edit {number} --repo {place.repo} --add-label status:todo --remove-label status:blocked"
        for number in numbers[:3]
    ]


def test_looking_changes_nothing(place: Place) -> None:
    place.issue("status:todo")
    attempts.clear(place.store, "issue-1")
    before = len(place.hub.log)
    files = sorted((path, path.stat().st_mtime_ns) for path in place.folder.rglob("*") if path.is_file())
    place.look()
    assert {record.method for record in place.hub.log[before:]} == {"GET"}
    assert sorted((path, path.stat().st_mtime_ns) for path in place.folder.rglob("*") if path.is_file()) == files


def test_what_another_installation_does_is_no_trouble(place: Place) -> None:
    from tests.supervisor.test_why import Scene

    mirror(place)
    number = place.issue("status:in-progress", minutes_ago=60)
    reviewed = place.issue("status:in-review", minutes_ago=60)
    with requests.Session() as session:
        session.trust_env = False
        scene = Scene(place.hub, place.repo, place.visit().settings, place.store, session)
        scene.claim(f"issue-{number}", 1)
    for task in (number, reviewed):
        place.hub.commit(place.repo, f"agent/issue-{task}", {"x": str(task)})
    place.act("POST", "/pulls", {"title": "t", "head": f"agent/issue-{reviewed}", "base": "main"})
    found = place.look("stranded", "git")
    assert bad(found, "stranded.tasks") == bad(found, "stranded.review") == bad(found, "git.branches") == []


def test_a_server_that_limits_no_requests_is_no_trouble(place: Place) -> None:
    place.hub.fault("GET", "/rate_limit$", status=404, body="{}", times=9)
    [finding] = [finding for finding in place.look("github") if finding.code == "github.limits"]
    assert finding.level == "ok"


def test_a_store_is_moved_away_with_its_newest_rows(place: Place) -> None:
    changed_ledger(place)
    [finding] = bad(place.look("store"), "store.ledger")
    place.paste(finding.remediation)
    assert not list(place.state_dir.glob("agentd.db*"))
    [kept] = place.state_dir.glob("agentd-*/agentd.db")
    with sqlite3.connect(kept) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (5,)


def test_a_store_that_is_only_locked_keeps_its_place(place: Place) -> None:
    place.store.close()
    path = place.state_dir / "agentd.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    found = [finding for finding in place.look("store") if finding.level != "ok"]
    other.close()
    assert [finding.remediation for finding in found] == [f"fuser -v {path}"]


def test_a_branch_is_kept_before_it_is_deleted(place: Place) -> None:
    mirror(place)
    sha = place.hub.commit(place.repo, "agent/issue-7", {"x": "1"})
    [finding] = bad(place.look("git"), "git.branches")
    place.paste(finding.remediation)
    assert place.act("GET", f"/git/ref/agentd/kept/{sha[:12]}")["object"]["sha"] == sha


def test_a_fingerprint_stays_while_the_message_changes(place: Place) -> None:
    finding = claims_group.STALE.warn("one", "do", subject="issue-1")
    assert finding.fingerprint == replace(finding, message="two", remediation="x").fingerprint
    assert len({finding.fingerprint, replace(finding, subject="b").fingerprint}) == 2
    assert finding.fingerprint != replace(finding, level="fail").fingerprint


def test_what_is_written_is_for_its_owner_alone(place: Place) -> None:
    _ = place.store
    assert stat.S_IMODE(place.state_dir.stat().st_mode) == 0o700
    assert bad(place.look("store"), "store.state_dir") == []
