"""The nouns: Task, Profile, Run, Step, Claim, Verdict, Event. Frozen data, no I/O."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentd.states import RunState


class Frozen(BaseModel):
    """Immutable and closed: an unknown key is an error, and so is a number that is none or has no end."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True, allow_inf_nan=False
    )


Level = Literal["high", "medium", "low"]
Phase = Literal["foundation", "hardening", "methodology", "rollout"]
Track = Literal["runtime", "control-plane", "evaluation", "feedback-loop", "rollout"]

PHASES: tuple[Phase, ...] = ("foundation", "hardening", "methodology", "rollout")
LEVELS: tuple[Level, ...] = ("high", "medium", "low")


class Contract(Frozen):
    """A task contract, `tasks/<task_id>.json` (tasks/schema/task-contract.schema.json has the same fields)."""

    task_id: str
    title: str
    goal: str
    inputs: tuple[str, ...]
    expected_outputs: tuple[str, ...]
    constraints: tuple[str, ...]
    verify_command: str
    definition_of_done: tuple[str, ...]
    rollback_note: str
    phase: Phase
    priority: Level
    track: Track
    risk_level: Level
    dependencies: tuple[str, ...] = ()


class Comment(Frozen):
    """One issue comment as GitHub gave it; `author_permission` is filled in only where it was asked for."""

    id: int
    author: str
    author_id: int
    author_type: str
    author_association: str
    body: str
    created_at: datetime
    updated_at: datetime


class Issue(Frozen):
    """One GitHub issue as observed. Text is untrusted."""

    number: int
    title: str
    body: str
    state: Literal["open", "closed"]
    state_reason: str | None = None
    labels: tuple[str, ...] = ()
    author: str = ""
    author_id: int = 0
    comments: int = 0
    created_at: datetime
    updated_at: datetime
    html_url: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it was closed as completed, not as not planned or as a duplicate; older ones have no reason."""
        return self.state == "closed" and self.state_reason in ("completed", None)


class Task(Frozen):
    """One GitHub issue plus its contract; everything a Run needs to know about what to do."""

    task_id: str
    """`P0-01` with a contract, `issue-<number>` without."""
    issue_number: int
    title: str
    goal: str
    verify_command: str
    rollback_note: str
    contract: Contract | None = None
    """None when the issue has no contract file."""
    dependencies: tuple[str, ...] = ()
    priority: Level = "medium"
    phase: Phase = "foundation"
    risk: Level = "medium"
    created_at: datetime


class EventRule(Frozen):
    """What a line of a program's output means; of several rules that fit one line, each makes an event."""

    when: dict[str, str | int | bool]
    """JSON pointers (RFC 6901) into the line, and the value that must stand at each."""
    event: Literal["started", "text", "tool_call", "tool_result", "usage", "final", "error"]
    fields: dict[str, str] = Field(default_factory=dict)
    """Fields of the event, and the JSON pointers to them; ` + ` between pointers adds numbers."""
    kind: Literal["failed", "api_error", "auth_error", "quota", "limit"] = "failed"
    """What an `error` is when its words do not tell."""


class EventMap(Frozen):
    """How the output of a program is read that the `command` adapter starts."""

    format: Literal["text", "jsonl"] = "text"
    """`text`: its exit status decides. `jsonl`: a JSON object a line, and the last `final` or `error` decides."""
    rules: tuple[EventRule, ...] = ()
    """`[[profiles.<name>.events.rules]]`, each with `when`, `event` and `fields`."""


class Profile(Frozen):
    """An agent configuration. Immutable: a change makes another revision."""

    name: str
    adapter: str
    """deepagents, claude, codex, codex-app-server, opencode, acp, builtin or command."""
    command: tuple[str, ...] = ()
    """The program and its arguments; the adapter's own default when empty. May hold `{prompt}` / `{prompt_file}`."""
    prompt: Literal["stdin", "argument", "file"] = "stdin"
    """How the `command` adapter hands over the prompt."""
    resume: tuple[str, ...] = ()
    """Arguments by which the `command` adapter continues a session; `{session}` in them is its id."""
    events: EventMap = EventMap()
    """How the `command` adapter reads the program's output."""
    files: dict[str, str] = Field(default_factory=dict)
    """Files that the `command` adapter writes into the run's home before the start; `${NAME}` is a variable of `env`
    or `pass_env`."""
    model: str = ""
    max_steps: int = Field(default=100, ge=1)
    """Model calls that the `builtin` agent may make in one turn; other agents have limits of their own."""
    prompt_template: str = ""
    """A template file in the repository root of the supervisor; empty takes the built-in one."""
    env: dict[str, str] = Field(default_factory=dict)
    """Added to the agent's environment word for word."""
    pass_env: tuple[str, ...] = ()
    """Names copied from agentd's own environment into the agent's; everything else stays out."""
    shell_allow: tuple[str, ...] = ()
    """Commands that the agent's shell tool may run: the command policy. Empty: the agent's own, and no policy."""
    agent: str = ""
    """Deep Agents' agent name (`-a`)."""
    hosts: tuple[str, ...] = ()
    """Hosts that its runs may reach from the sandbox besides the model, `name` or `name:port`: package registries."""
    on_conflict: Literal["agent", "human"] = "agent"
    """Who resolves a branch that conflicts with the base when that is tried again: the agent, or only a person."""
    mounts: tuple[str, ...] = ()
    """Files and folders of the host that its runs may read in the sandbox, at the same path."""
    trusted: bool = False
    """Its runs may have `layout = "worktree"`. They can then write loose objects and branches of the mirror, which all
    tasks share: take away work that others have not published, and hold agentd up."""
    models: tuple[str, ...] = ()
    """Models that its runs may ask the gateway for, beside `model`; empty allows any."""
    request_extra: dict[str, Any] = Field(default_factory=dict)
    """JSON that the gateway merges into every request to a model; it wins over what the agent asks for."""

    telemetry: bool = False
    """Its agent may tell what it does in spans of its own, which become part of the run's trace. Claude Code does."""

    @property
    def revision(self) -> str:
        """First 12 hex digits of the sha256 of the canonical JSON: two profiles differ iff their revisions do."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()[:12]

    @property
    def address(self) -> str:
        """`name@revision`."""
        return f"{self.name}@{self.revision}"


class Run(Frozen):
    """One attempt at a Task by one Profile in one Workspace, as the store holds it."""

    run_id: str
    task_id: str
    issue_number: int
    attempt: int
    profile: str
    """name@revision"""
    state: RunState
    branch: str
    title: str = ""
    reason: str = ""
    """Why it ended or is held; empty while all goes well."""
    failure_mode: str = ""
    """See agentd.policy.failures; empty for none."""
    terminal_reason: str = ""
    """See agentd.policy.failures; empty before its end."""
    label: str = ""
    """Status label that was last written for this run; another one on the issue is a person's edit."""
    cancel_reason: str = ""
    """Set when somebody wants the run to end; its executor obeys at the next beat."""
    generation: int = 0
    """of the claim under which it was last carried"""
    executor: str = ""
    """process that carries it; empty while nobody does"""
    workspace: str = ""
    log_path: str = ""
    base_sha: str = ""
    head_sha: str = ""
    pr_number: int | None = None
    pr_url: str = ""
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    merged_at: datetime | None = None


StepKind = Literal["run", "stage", "agent_turn", "model_call", "tool_call", "policy_check", "retry_attempt"]
StepState = Literal["open", "ok", "failed", "denied"]


class Step(Frozen):
    """One thing a Run does. `parent_id` makes the trace; the same work told again is the same Step."""

    step_id: str
    """see `step_id_of`; also the id of its span"""
    run_id: str
    parent_id: str = ""
    """empty for the run itself only"""
    kind: StepKind
    name: str
    """of the stage, the agent, the model, the tool or the rule"""
    attempt: int = 1
    """how many of this kind and name there were under the same parent, with this one"""
    state: StepState = "open"
    slot: str = ""
    """which of several seats or branches of a stage did it"""
    action_fingerprint: str = ""
    output_fingerprint: str = ""
    diff_fingerprint: str = ""
    work_units: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """None where nobody knows"""
    failure_mode: str = ""
    exception_class: str = ""
    summary: str = ""
    """what a person would want to read; bounded, without secrets"""
    started_at: datetime
    ended_at: datetime | None = None


def step_id_of(run_id: str, parent_id: str, kind: StepKind, name: str, attempt: int = 1) -> str:
    """16 hex digits that depend on nothing else, so that a replay names the same Step."""
    return fingerprint_of([run_id, parent_id, kind, name, attempt])


def root_step_id(run_id: str) -> str:
    """The Step that is the Run itself: the parent of its stages."""
    return step_id_of(run_id, "", "run", "")


def stage_step_id(run_id: str, name: str) -> str:
    """The Step of a stage."""
    return step_id_of(run_id, root_step_id(run_id), "stage", name)


def fingerprint_of(value: Any) -> str:
    """16 hex digits of the sha256 of a JSON value: equal values have equal ones."""
    return hashlib.sha256(canonical_json(value).encode(errors="surrogatepass")).hexdigest()[:16]


class Claim(Frozen):
    """The fenced, expiring right to act for a Task."""

    task_id: str
    holder: str
    """installation and executor, e.g. `5f3a9c01/host-4711-1763700000`"""
    run_id: str
    generation: int
    """grows by one with every take-over: the fencing token"""
    remote_sha: str = ""
    """commit that `refs/agentd/claims/<task>` points at while this claim holds it; empty without a remote fence"""


class Decision(StrEnum):
    """What a Verdict decides."""

    allow = "allow"
    deny = "deny"
    hold = "hold"
    halt = "halt"
    block = "block"


class Verdict(Frozen):
    """Every allow, deny, hold, halt and block, in one shape."""

    control: str
    """admission, trust, claim, verify, diff, limit, ..."""
    rule_id: str
    decision: Decision
    scope: str
    """what it is about: a task id, a run id, `repository`"""
    observed: str = ""
    limit: str = ""
    action: str = ""
    """what happens now, or what a person should do"""
    evidence: tuple[str, ...] = ()
    retry_at: datetime | None = None


EventType = Literal[
    "task_selected",
    "issue_labeled",
    "dispatch_started",
    "branch_sync",
    "conflict_recovery",
    "agent_started",
    "agent_finished",
    "verify_started",
    "verify_finished",
    "policy_decided",
    "pr_opened",
    "run_completed",
    "run_failed",
    "record_dropped",
]


class Event(Frozen):
    """One line of events.jsonl, schema version 1 (schemas/agent-event.schema.json)."""

    schema_version: Literal[1] = 1
    event_id: str
    timestamp: datetime
    source: Literal["supervisor", "worker", "reconciler"]
    event_type: EventType
    repo: str
    task_id: str
    run_id: str
    status: Literal["ok", "failed", "skipped"]
    data: dict[str, Any]
    issue_number: int | None = None
    attempt: int | None = None
    branch: str | None = None
    worktree: str | None = None


def canonical_json(value: Any) -> str:
    """Sorted keys, no white space, UTF-8 as it is: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def utc_now() -> datetime:
    """The wall clock, aware, in UTC. Pass a `Clock` where a test must decide the time."""
    return datetime.now(UTC)
