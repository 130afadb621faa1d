"""The tables, for SQLite and PostgreSQL alike. Times are ISO 8601 text in UTC, deadlines seconds of a lease clock."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, Table, Text

VERSION = 5
"""Grows with every change of this file; a store of a later version is refused."""

metadata = MetaData()

meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("task_id", Text, nullable=False, index=True),
    Column("issue_number", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("profile", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("branch", Text, nullable=False),
    Column("title", Text, nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
    Column("failure_mode", Text, nullable=False, server_default=""),
    Column("terminal_reason", Text, nullable=False, server_default=""),
    Column("label", Text, nullable=False, server_default=""),
    Column("cancel_reason", Text, nullable=False, server_default=""),
    Column("generation", Integer, nullable=False, server_default="0"),
    Column("executor", Text, nullable=False, server_default=""),
    Column("workspace", Text, nullable=False, server_default=""),
    Column("log_path", Text, nullable=False, server_default=""),
    Column("base_sha", Text, nullable=False, server_default=""),
    Column("head_sha", Text, nullable=False, server_default=""),
    Column("pr_number", Integer),
    Column("pr_url", Text, nullable=False, server_default=""),
    Column("started_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False, index=True),
    Column("finished_at", Text),
    Column("merged_at", Text),
)

transitions = Table(
    "transitions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", Text, nullable=False, index=True),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Text, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("body", Text, nullable=False),
)
"""What a run was asked to do: task, profile and prompt text as JSON, fixed at dispatch."""

claims = Table(
    "claims",
    metadata,
    Column("task_id", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("deadline", Float, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("remote_sha", Text, nullable=False, server_default=""),
    Column("released", Integer, nullable=False, server_default="0"),
)

executors = Table(
    "executors",
    metadata,
    Column("executor", Text, primary_key=True),
    Column("place", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("contract", Text, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("agents", Text, nullable=False),
    Column("leads", Integer, nullable=False, server_default="0"),
    Column("closed", Text, nullable=False, server_default=""),
    Column("drain", Integer, nullable=False, server_default="0"),
    Column("deadline", Float, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("since", Text, nullable=False),
)
"""Processes that carry runs: what each has room and agents for, why it takes nothing now, and its heartbeat."""

sightings = Table(
    "sightings",
    metadata,
    Column("ref", Text, primary_key=True),
    Column("sha", Text, nullable=False),
    Column("first_seen", Float, nullable=False),
    Column("boot_id", Text, nullable=False),
)
"""Foreign claims: which commit was first seen when, on our own clock; unchanged for a lease means expired."""

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("task_id", Text, nullable=False, index=True),
    Column("run_id", Text, nullable=False, unique=True),
    Column("cause", Text),
    Column("at", Text, nullable=False),
    Column("cleared", Integer, nullable=False, server_default="0"),
)
"""One row a start of work; `cause` is filled in at a bad end, `cleared` at a success or a person's requeue."""

approvals = Table(
    "approvals",
    metadata,
    Column("issue_number", Integer, primary_key=True),
    Column("event_id", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("actor_id", BigInteger, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("at", Text, nullable=False),
)

holds = Table(
    "holds",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("rule_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("action", Text, nullable=False, server_default=""),
    Column("since", Text, nullable=False),
    Column("retry_at", Text),
)
"""Why a task (scope = task id) or everything (scope = `*`, `github`, `model`) waits."""

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False, unique=True),
    Column("run_id", Text, nullable=False, index=True),
    Column("task_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("prev", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
Index("events_task", events.c.task_id)

steps = Table(
    "steps",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("step_id", Text, primary_key=True),
    Column("parent_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("slot", Text, nullable=False),
    Column("action_fingerprint", Text, nullable=False),
    Column("output_fingerprint", Text, nullable=False),
    Column("diff_fingerprint", Text, nullable=False),
    Column("work_units", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost_usd", Float),
    Column("failure_mode", Text, nullable=False),
    Column("exception_class", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("ended_at", Text),
    sqlite_with_rowid=False,
)
"""Stages, agent turns, tool calls and retries of runs. Model calls are rows of `spend`, decisions Events."""

reported_spans = Table(
    "reported_spans",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("span_id", Text, primary_key=True),
    Column("parent_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("attributes", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""What agents have said of themselves (agentd.trace.receiving)."""

exports = Table(
    "exports",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("done", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("retry_at", Text),
    sqlite_with_rowid=False,
)
"""What was made of a run after its end: `evidence`, and its trace for each sink. `done` also when it was given up."""

etags = Table(
    "etags",
    metadata,
    Column("key", Text, primary_key=True),
    Column("etag", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", Text, nullable=False, server_default=""),
)
"""Answers of GitHub, and when each was new."""

gateways = Table(
    "gateways",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("deadline", Float, nullable=False),
    Column("boot_id", Text, nullable=False),
)
"""Gateways with calls on their way, and their heartbeats; what a silent one has reserved is settled by another."""

gateway_keys = Table(
    "gateway_keys",
    metadata,
    Column("key_hash", Text, primary_key=True),
    Column("run_id", Text, nullable=False, index=True),
    Column("task_id", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("models", Text, nullable=False),
    Column("request_extra", Text, nullable=False),
    Column("door", Text, nullable=False, server_default=""),
    Column("created_at", Text, nullable=False),
    Column("expires_at", Text, nullable=False),
    Column("revoked", Integer, nullable=False, server_default="0"),
)
"""Keys of runs, by their sha256; `door` is the one listener that takes it, empty for `agentd gateway serve`."""

meters = Table(
    "meters",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("used_nano_usd", BigInteger, nullable=False),
    Column("used_tokens", BigInteger, nullable=False),
    Column("used_calls", BigInteger, nullable=False),
    Column("reserved_nano_usd", BigInteger, nullable=False),
    Column("reserved_tokens", BigInteger, nullable=False),
    Column("reserved_calls", BigInteger, nullable=False),
    Column("noticed", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""What each scope (`run:<id>`, `day:<date>`, ...) has used, and what calls on their way have reserved."""

spend = Table(
    "spend",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("run_id", Text, nullable=False, index=True),
    Column("task_id", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("day", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("status", Integer, nullable=False, server_default="0"),
    Column("estimated", Integer, nullable=False, server_default="0"),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_write_tokens", BigInteger, nullable=False, server_default="0"),
    Column("reasoning_tokens", BigInteger, nullable=False, server_default="0"),
    Column("nano_usd", BigInteger),
    Column("cost_usd", Float),
    Column("extra_hash", Text, nullable=False, server_default=""),
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text),
    sqlite_with_rowid=False,
)
"""One row a model call: `open` with what it has reserved, then `settled` with what it used. `estimated` where no usage
was told. `input_tokens` includes cached ones, `output_tokens` includes reasoning; no price is NULL."""
Index("spend_open", spend.c.gateway, sqlite_where=spend.c.state == "open", postgresql_where=spend.c.state == "open")

GENESIS = "0" * 64
"""What the first row of the ledger has for the hash of the row before."""
_IN_ORDER = (
    "NEW.seq {differs} (SELECT coalesce(max(seq), 0) + 1 FROM events) OR NEW.prev {differs} "
    f"coalesce((SELECT hash FROM events ORDER BY seq DESC LIMIT 1), '{GENESIS}')"
)

APPEND_ONLY = {
    "sqlite": [
        "CREATE TRIGGER IF NOT EXISTS events_no_update BEFORE UPDATE ON events "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
        "CREATE TRIGGER IF NOT EXISTS events_no_delete BEFORE DELETE ON events "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
        "CREATE TRIGGER IF NOT EXISTS events_in_order BEFORE INSERT ON events "
        f"WHEN {_IN_ORDER.format(differs='IS NOT')} BEGIN "
        "SELECT RAISE(ABORT, 'the ledger takes a row only behind its last one'); END",
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION agentd_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
        "DROP TRIGGER IF EXISTS events_append_only ON events",
        "CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE ON events "
        "FOR EACH ROW EXECUTE FUNCTION agentd_append_only()",
        "CREATE OR REPLACE FUNCTION agentd_in_order() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF {_IN_ORDER.format(differs='IS DISTINCT FROM')} THEN "
        "RAISE EXCEPTION 'the ledger takes a row only behind its last one'; END IF; RETURN NEW; END $$",
        "DROP TRIGGER IF EXISTS events_in_order ON events",
        "CREATE TRIGGER events_in_order BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION agentd_in_order()",
    ],
}
"""Statements that may be given again; a new version's are given to an older store too."""

ADDED_TO_RUNS = tuple(
    f"ALTER TABLE runs ADD COLUMN {column} TEXT NOT NULL DEFAULT ''" for column in ("failure_mode", "terminal_reason")
)
ADDED_TO_ETAGS = "ALTER TABLE etags ADD COLUMN at TEXT NOT NULL DEFAULT ''"
MIGRATIONS: dict[int, tuple[str, ...]] = {2: (), 3: (), 4: ADDED_TO_RUNS, 5: (ADDED_TO_ETAGS,)}
"""By version, the statements that bring a store of the version before up to it; new tables come by themselves."""
