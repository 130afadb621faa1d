"""The judgement of a chaos run: one figure for each thing that must not happen, with the evidence beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from agentd.git.runner import git
from agentd.states import BLOCKED_ENDS, RunState
from agentd.store import claims, runs
from agentd.store.verification import problems
from agentd.supervisor.lead import LEAD
from tests.e2e.conftest import REPO
from tests.faults import chaos_writes
from tests.faults.chaos import HOST_MAX_PARALLEL, MAX_PARALLEL, Fleet
from tests.faults.chaos_hosts import leftovers
from tests.faults.chaos_plan import TURNS
from tests.faults.chaos_watch import read_record

MOST_EVIDENCE = 5
UNFINISHED = "SELECT workflow_uuid, status FROM dbos.workflow_status WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED')"
TURNS_RECORDED = (
    "SELECT workflow_uuid, function_name, completed_at_epoch_ms FROM dbos.operation_outputs "
    "WHERE function_name LIKE 'agent-%'"
)


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: int
    bar: str = ""
    """what it must be; empty when it is only told"""
    ok: bool = True
    evidence: list[str] = field(default_factory=list)


def none(name: str, evidence: Iterable[str]) -> Figure:
    """A figure that must be 0."""
    found = sorted(evidence)
    return Figure(name, len(found), "0", not found, found)


def check(fleet: Fleet) -> list[Figure]:
    """Everything that is judged once the run is over."""
    record = read_record(fleet.records / "record.jsonl")
    writes = chaos_writes.judge(fleet.hub.log, fleet.remote, fleet.chaos.protected)
    return [
        *_ends(fleet),
        *_overlaps(fleet, record),
        *_turns(fleet, record),
        Figure("outside writes", writes.count),
        none("outside writes with a stale generation", writes.stale),
        none("outside writes before their claim was on the remote", writes.ahead),
        none("outside writes without a generation", writes.bare),
        none("writes of a supervisor that had lost the lead", writes.lead_stale),
        *_github(fleet),
        *_left(fleet),
    ]


def loose_ends(fleet: Fleet) -> list[str]:
    """What is still under way in the store, the engine and on the remote; nothing when the fleet is at rest."""
    with fleet.store() as store:
        found = [f"run {run.run_id} is {run.state}" for run in runs.active_runs(store)]
        found += [f"claim {row.claim.task_id}" for row in claims.list_claims(store) if row.claim.task_id != LEAD]
    found += [f"engine {name} {status}" for name, status in _engine(fleet, UNFINISHED)]
    refs = git("for-each-ref", "--format=%(refname)", "refs/agentd", git_dir=fleet.remote)
    return [*found, *refs.splitlines(), *_wrong_labels(fleet)]


def keep_evidence(fleet: Fleet) -> None:
    """Write the database, whose server ends with the run, and the writes of the log into the run's folder."""
    tables = ("runs", "transitions", "claims", "executors", "attempts", "holds", "events")
    queries = {name: f"SELECT * FROM {name}" for name in tables}
    queries |= {name: f"SELECT * FROM dbos.{name}" for name in ("workflow_status", "operation_outputs")}
    with psycopg.connect(fleet.database_url.replace("+psycopg", ""), row_factory=dict_row) as connection:
        for name, query in queries.items():
            rows = connection.execute(query.encode()).fetchall()
            (fleet.folder / f"{name}.jsonl").write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
    with (fleet.folder / "writes.log").open("w") as file:
        for record in fleet.hub.log:
            if record.method != "GET" and record.user == chaos_writes.BOT and record.path != "/graphql":
                moves = " ".join(f"{ref} {old[:7]}..{new[:7]}" for ref, old, new in chaos_writes.moves_of(record))
                token = record.headers.get("x-agentd-claim", "")
                file.write(
                    f"{record.at:%H:%M:%S.%f} {record.status} {token:14} {record.method} {record.path} {moves}\n"
                )


def table(fleet: Fleet, figures: list[Figure]) -> str:
    """The figures as text, with some evidence below those that are wrong."""
    chaos = fleet.chaos
    faults = ", ".join(f"{number} {name}" for name, number in sorted(fleet.faults.items()))
    lines = [
        f"{chaos.tasks} tasks, {chaos.workers} workers, {chaos.supervisors} supervisors, seed {chaos.seed}"
        + ("" if chaos.protected else ", WITHOUT lease and guardian"),
        f"faults: {sum(fleet.faults.values())} ({faults})",
        f"until the last task had its end: {fleet.seconds:.0f} s",
    ]
    for figure in figures:
        lines.append(f"{'    ' if figure.ok else 'BAD '}{figure.name:<62}{figure.value:>6}  {figure.bar}".rstrip())
        if not figure.ok:
            lines += [f"        {line}" for line in figure.evidence[:MOST_EVIDENCE]]
    return "\n".join(lines)


def _ends(fleet: Fleet) -> list[Figure]:
    ends = fleet.ends()
    blocked = {task.task_id for task in fleet.tasks if task.ends_blocked}
    merged = {task.task_id for task in fleet.tasks if ends.get(task.task_id) is RunState.merged}
    stopped = {task for task, state in ends.items() if state in BLOCKED_ENDS}
    lost = {task.task_id for task in fleet.tasks} - merged - stopped
    wanted = len(fleet.tasks) - len(blocked)
    return [
        Figure("tasks merged", len(merged), str(wanted), len(merged) == wanted),
        Figure("tasks correctly blocked", len(stopped & blocked), str(len(blocked)), blocked <= stopped),
        none("tasks blocked or merged against the plan", [*(stopped - blocked), *(merged & blocked)]),
        none("tasks lost", [f"{task}: {ends.get(task, 'never started')}" for task in lost]),
    ]


def _overlaps(fleet: Fleet, record: list[dict[str, Any]]) -> list[Figure]:
    assert fleet.watch is not None
    watch = fleet.watch
    busy = [f"{line['task']} at {line['at']:.3f}" for line in record if line["what"] == "OVERLAP"]
    on_host = max(watch.most_on_host.values(), default=0)
    return [
        none("two agents at once (lock of the task)", busy),
        none("two agents at once (living processes)", watch.twice),
        none("two agents at once (start and end)", _crossing(record)),
        Figure("most agents at once", watch.most, f"<= {MAX_PARALLEL}", watch.most <= MAX_PARALLEL),
        Figure("most agents at once on one host", on_host, f"<= {HOST_MAX_PARALLEL}", on_host <= HOST_MAX_PARALLEL),
    ]


def _crossing(record: list[dict[str, Any]]) -> list[str]:
    """Starts between the start and the end that another agent of the same task wrote down."""
    found = []
    began: dict[tuple[int, int], dict[str, Any]] = {}
    for line in record:
        if line["what"] == "start":
            began[line["pid"], line["born"]] = line
    for end in (line for line in record if line["what"] == "end"):
        start = began[end["pid"], end["born"]]
        found += [
            f"{other['task']}: {other['pid']} began while {start['pid']} worked"
            for other in began.values()
            if other["task"] == start["task"] and start["boot"] < other["boot"] < end["boot"]
        ]
    return found


def _turns(fleet: Fleet, record: list[dict[str, Any]]) -> list[Figure]:
    """A turn that was recorded, or only finished, and then run again in the same run."""
    recorded = {
        (run, int(name.removeprefix("agent-"))): done / 1000
        for run, name, done in _engine(fleet, TURNS_RECORDED)
        if done is not None
    }
    ended = {(line["run"], line["turn"]): line["at"] for line in reversed(record) if line["what"] == "end"}
    starts = [line for line in record if line["what"] == "start"]
    redone, unrecorded = [], []
    for line in starts:
        turn, told = (line["run"], line["turn"]), f"{line['run']} turn {line['turn']} again at {line['at']:.3f}"
        if line["at"] > recorded.get(turn, float("inf")):
            redone.append(f"{told}, recorded at {recorded[turn]:.3f}")
        elif line["at"] > ended.get(turn, float("inf")):
            unrecorded.append(told)
    planned = sum(TURNS[task.kind] + (task.kind == "fails_once") for task in fleet.tasks)
    return [
        Figure("agent starts", len(starts)),
        Figure("agent starts beyond the undisturbed ones", len(starts) - planned),
        none("finished turns run again although they were recorded", redone),
        Figure("finished turns run again, worker gone before the record", len(unrecorded), evidence=unrecorded),
    ]


def _github(fleet: Fleet) -> list[Figure]:
    here = fleet.hosts[0].here
    pages = len(fleet.tasks) // 50 + 2
    pulls = [pull for page in range(pages) for pull in here.get(f"/pulls?state=all&per_page=100&page={page + 1}")]
    merged_at = {pull["head"]["ref"]: pull["merged_at"] for pull in pulls if pull["merged_at"]}
    of_task = Counter(pull["head"]["ref"] for pull in pulls)
    wrong_pulls, comments, early = [], [], []
    with fleet.store() as store:
        for task in fleet.tasks:
            number = of_task[f"agent/{task.task_id}"]
            if number != (0 if task.ends_blocked else 1):
                wrong_pulls.append(f"{task.task_id}: {number}")
            if (number := len(here.stickies(fleet.issues[task.task_id]))) != 1:
                comments.append(f"{task.task_id}: {number}")
            for run in runs.runs_of(store, task.task_id):
                for needed in task.needs:
                    merged = merged_at.get(f"agent/{needed}")
                    if merged is None or datetime.fromisoformat(merged) > run.started_at:
                        early.append(f"{task.task_id} before {needed}, merged {merged}")
    files = set(git("ls-tree", "-r", "--name-only", "main", git_dir=fleet.remote).splitlines())
    missing = [
        task.task_id for task in fleet.tasks if not task.ends_blocked and f"work-{task.task_id}.txt" not in files
    ]
    return [
        none("tasks without exactly one pull request (blocked: none)", wrong_pulls),
        none("issues without exactly one comment of agentd", comments),
        none("merged work that is not on the base branch", missing),
        none("tasks started before one that they need was merged", early),
        none("issues whose labels do not say what is so", _wrong_labels(fleet)),
    ]


def _wrong_labels(fleet: Fleet) -> list[str]:
    wrong = []
    world = fleet.hub.world.repo(REPO)
    for task in fleet.tasks:
        issue = world.issues[fleet.issues[task.task_id]]
        status = [label.name for label in issue.labels if label.name.startswith("status:")]
        if status != (["status:blocked"] if task.ends_blocked else []):
            wrong.append(f"label {task.task_id}: {status} {issue.state}")
        elif (issue.state == "closed") == task.ends_blocked:
            wrong.append(f"issue {task.task_id} is {issue.state}")
    return wrong


def _left(fleet: Fleet) -> list[Figure]:
    refs = git("for-each-ref", "--format=%(refname)", "refs/agentd", "refs/heads/agent", git_dir=fleet.remote)
    with fleet.store() as store:
        active = [run.run_id for run in runs.active_runs(store)]
        held = [row.claim.task_id for row in claims.list_claims(store)]
        broken = list(problems(store))
    alive = leftovers(fleet.folder)
    return [
        none("runs still under way in the store", active),
        none("runs still under way in the engine", [f"{name} {status}" for name, status in _engine(fleet, UNFINISHED)]),
        none("claims left in the store", held),
        none("claims, work and branches left on the remote", refs.splitlines()),
        none("places where the ledger does not verify", broken),
        none("processes left", [f"{pid}" for pid in alive]),
        none("processes that did not stop when told to", ["host"] * fleet.faults["did not stop"]),
    ]


def _engine(fleet: Fleet, query: str) -> list[tuple[Any, ...]]:
    """Rows of the engine's own tables."""
    with psycopg.connect(fleet.database_url.replace("+psycopg", "")) as connection:
        if connection.execute("SELECT to_regclass('dbos.workflow_status')").fetchone() == (None,):
            return []
        return connection.execute(query.encode()).fetchall()
