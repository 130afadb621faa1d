"""A run as spans. Pure: the same record gives the same spans, with the same ids and times, whoever makes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agentd.model import Decision, Event, Step, StepKind, root_step_id, step_id_of
from agentd.states import ACTIVE, BLOCKED_ENDS, RETRY_ENDS, RunState
from agentd.store.spending import Call
from agentd.trace import names
from agentd.trace.places import Places
from agentd.trace.span import RunRecord, Span, SpanEvent, SpanKind, Status, Value, trace_id_of

KINDS: dict[StepKind, str] = {
    "run": "run",
    "stage": "stage",
    "agent_turn": "agent_step",
    "model_call": "llm_call",
    "tool_call": "tool_call",
    "policy_check": "policy_check",
    "retry_attempt": "retry_attempt",
}
"""What the attribute `agent.span.kind` says, by which spans are counted."""
DENYING = frozenset({Decision.deny, Decision.halt, Decision.block})
PROVIDERS = {"messages": "anthropic", "chat": "openai", "responses": "openai"}


def spans_of(record: RunRecord) -> list[Span]:
    """The spans of a run, parents before their children, in the order of their beginning."""
    place = Places(record)
    spans = [_root(record)]
    spans += [_of_step(record, step, place) for step in record.steps]
    spans += _of_calls(record, place)
    spans += _of_verdicts(record, place)
    spans += _reported(record, place)
    verified = [(seq, event) for seq, event in record.events if event.event_type == "verify_finished"]
    for _, event in verified:
        at, parent = _ns(event.timestamp), place.stage_at(event.timestamp)
        spans = [_with_evaluation(span, event, at) if span.span_id == parent else span for span in spans]
    return _ordered(spans)


def _root(record: RunRecord) -> Span:
    run, task = record.run, record.task
    profile, _, revision = run.profile.partition("@")
    attributes: dict[str, Value | None] = {
        names.OPERATION: names.WORKFLOW,
        names.GEN_WORKFLOW: names.WORKFLOW_NAME,
        names.RUN: run.run_id,
        names.RUN_STATE: run.state,
        names.RUN_REASON: run.reason,
        names.TASK: run.task_id,
        names.RISK: task.risk,
        names.ISSUE: run.issue_number,
        names.ATTEMPT: run.attempt,
        names.PULL: run.pr_number,
        names.PROFILE_NAME: profile,
        names.PROFILE_REVISION: revision,
        names.VERIFY_COMMAND: task.verify_command,
        names.REPOSITORY: record.repo,
        names.BRANCH: run.branch,
        names.HEAD: run.head_sha,
        names.BASE: run.base_sha,
        names.TERMINAL_REASON: run.terminal_reason,
        names.FAILURE_MODE: run.failure_mode,
        names.COST: _cost(record.calls),
    }
    bad = run.state in BLOCKED_ENDS | RETRY_ENDS
    if bad:
        attributes[names.ERROR_TYPE] = run.failure_mode or run.terminal_reason or str(run.state)
    status: Status = "error" if bad else "unset" if run.state in ACTIVE | {RunState.cancelled} else "ok"
    target = f"{names.WORKFLOW} {names.WORKFLOW_NAME}"
    return _span(
        record, root_step_id(run.run_id), "", target, "run", (run.started_at, record.ended_at), attributes,
        status=status, message=run.reason if bad else "",
    )  # fmt: skip


def _of_step(record: RunRecord, step: Step, place: Places) -> Span:
    attributes: dict[str, Value | None] = {
        names.SUMMARY: step.summary,
        names.SLOT: step.slot,
        names.WORK_UNITS: step.work_units or None,
        names.ACTION_FINGERPRINT: step.action_fingerprint,
        names.OUTPUT_FINGERPRINT: step.output_fingerprint,
        names.DIFF_FINGERPRINT: step.diff_fingerprint,
        names.FAILURE_MODE: step.failure_mode,
        names.INPUT_TOKENS: step.input_tokens or None,
        names.OUTPUT_TOKENS: step.output_tokens or None,
        names.COST: step.cost_usd,
    }
    target, kind = step.name, "internal"
    match step.kind:
        case "stage":
            attributes |= {names.STAGE_NAME: step.name, names.STAGE_ATTEMPT: step.attempt}
        case "agent_turn":
            kind = "client"
            number = place.number("agent_turn") - 1
            attributes |= {names.OPERATION: names.AGENT, names.AGENT_NAME: step.name, names.STEP_INDEX: number}
            attributes |= {names.AGENT_VERSION: record.run.profile.partition("@")[2]}
        case "tool_call":
            attributes |= {names.OPERATION: names.TOOL, names.TOOL_NAME: step.name, names.AGENT_TOOL_NAME: step.name}
        case "retry_attempt":
            attributes |= {names.RETRY_ATTEMPT: step.attempt, names.RETRY_OUTCOME: step.summary}
    failed = step.state in ("failed", "denied")
    if failed:
        refused = "policy_denied" if step.state == "denied" else ""
        attributes[names.ERROR_TYPE] = step.exception_class or refused or step.failure_mode or f"{step.kind}_failed"
    if step.exception_class:
        attributes |= {names.EXCEPTION_TYPE: step.exception_class, names.EXCEPTION_CLASS: step.exception_class}
    operation = {"stage": names.STAGE, "agent_turn": names.AGENT, "tool_call": names.TOOL}.get(step.kind, names.RETRY)
    return _span(
        record, step.step_id, step.parent_id, f"{operation} {target}", step.kind, (step.started_at, place.end_of(step)),
        attributes, "client" if kind == "client" else "internal",
        "error" if failed else "ok" if step.state == "ok" else "unset", step.summary if failed else "",
    )  # fmt: skip


def _of_calls(record: RunRecord, place: Places) -> Iterable[Span]:
    for call in record.calls:
        began = datetime.fromisoformat(call.started_at)
        ended = datetime.fromisoformat(call.finished_at) if call.finished_at else began
        parent = place.at(began)
        span_id = step_id_of(
            record.run.run_id, parent, "model_call", call.model, place.number(parent, "chat", call.model)
        )
        attributes: dict[str, Value | None] = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: PROVIDERS.get(call.dialect, call.upstream),
            names.REQUEST_MODEL: call.model,
            names.INPUT_TOKENS: call.input_tokens,
            names.OUTPUT_TOKENS: call.output_tokens,
            names.CACHE_READ_TOKENS: call.cached_tokens or None,
            names.CACHE_WRITE_TOKENS: call.cache_write_tokens or None,
            names.REASONING_TOKENS: call.reasoning_tokens or None,
            names.COST: call.cost_usd,
            names.HTTP_STATUS: call.status or None,
        }
        bad = call.status >= 400 or call.state == "open"
        if bad:
            attributes[names.ERROR_TYPE] = str(call.status or "unanswered")
        yield _span(
            record, span_id, parent, f"{names.CHAT} {call.model}", "model_call", (began, ended), attributes, "client",
            "error" if bad else "ok",
        )  # fmt: skip


def _of_verdicts(record: RunRecord, place: Places) -> Iterable[Span]:
    """Every decision that is an Event, a halt at a budget too."""
    for seq, event in record.events:
        if event.event_type != "policy_decided":
            continue
        data, at = event.data, event.timestamp
        decision = str(data.get("verdict", ""))
        rule = str(data.get("rule_id") or data.get("kind") or "policy")
        parent, denies = place.at(at), decision in DENYING
        span_id = step_id_of(record.run.run_id, parent, "policy_check", rule, place.number(parent, "policy", rule))
        reason = str(data.get("reason", ""))
        attributes: dict[str, Value | None] = {
            names.OPERATION: names.GUARDRAIL,
            names.GUARDRAIL_COMPONENT: str(data.get("kind", "")),
            names.GUARDRAIL_RULE: rule,
            names.GUARDRAIL_VERDICT: "deny" if denies else "allow" if decision == Decision.allow else "escalate",
            names.GUARDRAIL_REASON: reason,
            names.GUARDRAIL_ACTION: "block" if decision != Decision.allow else "allow",
            names.POLICY_RULE: rule,
            names.POLICY_DECISION: "deny" if denies else decision,
            names.VERDICT_DECISION: decision,
            names.LEDGER_SEQ: seq,
        }
        if decision == Decision.halt:
            told = {"control": "kind", "scope": "scope", "observed": "reason", "limit": "limit", "action": "action"}
            attributes |= {names.HALT + name: str(data.get(key, "")) for name, key in told.items()}
            attributes[names.HALT + "reason"] = rule
        name = f"{names.GUARDRAIL} {rule}"
        status: Status = "error" if denies else "ok"
        yield _span(
            record, span_id, parent, name, "policy_check", (at, at), attributes, status=status,
            message=reason if denies else "",
        )  # fmt: skip


def _reported(record: RunRecord, place: Places) -> Iterable[Span]:
    """The agent's own spans, told apart from what agentd knows itself. They hang on it, whatever they say."""
    steps = {step.step_id for step in record.steps} | {root_step_id(record.run.run_id)}
    parents = {each.span_id: each.parent_id for each in record.reported if each.span_id not in steps}

    def hangs(span_id: str) -> bool:
        for _ in parents:
            if span_id in steps or span_id not in parents:
                break
            span_id = parents[span_id]
        return span_id in steps

    for each in record.reported:
        if each.span_id in steps:
            continue
        begun = datetime.fromtimestamp(each.start_ns // 1_000_000_000, UTC)
        begun += timedelta(microseconds=each.start_ns % 1_000_000_000 // 1000)
        parent = each.parent_id if hangs(each.parent_id) else place.at(begun)
        attributes = {**each.attributes, names.AGENT_OWN: True, names.RUN_ID: record.run.run_id}
        trace_id = trace_id_of(record.run.run_id)
        yield Span(trace_id, each.span_id, parent, each.name, "internal", each.start_ns, each.end_ns, attributes)


def _with_evaluation(span: Span, event: Event, at_ns: int) -> Span:
    label = "passed" if event.status == "ok" else "failed"
    attributes: dict[str, Value] = {names.EVALUATION_NAME: "verify_command", names.EVALUATION_LABEL: label}
    return replace(span, events=(*span.events, SpanEvent(names.EVALUATION, at_ns, attributes)))


def _span(
    record: RunRecord,
    span_id: str,
    parent_id: str,
    name: str,
    step_kind: StepKind,
    times: tuple[datetime, datetime],
    attributes: Mapping[str, Value | None],
    kind: SpanKind = "internal",
    status: Status = "unset",
    message: str = "",
) -> Span:
    known: dict[str, Any] = {names.SPAN_KIND: KINDS[step_kind], names.RUN_ID: record.run.run_id, **attributes}
    start = _ns(times[0])
    return Span(
        trace_id_of(record.run.run_id),
        span_id,
        parent_id,
        name,
        kind,
        start,
        max(start, _ns(times[1])),  # a clock that was set back
        {key: known[key] for key in sorted(known) if known[key] not in (None, "")},
        status,
        message,
    )


def _ordered(spans: list[Span]) -> list[Span]:
    """By their beginning; where that is one moment, parents first. A parent that is not there is the root."""
    known = {span.span_id: span for span in spans}
    root = spans[0].span_id

    def depth(span: Span) -> int:
        found = 0
        while span.parent_id in known and found < len(known):
            span, found = known[span.parent_id], found + 1
        return found

    mended = [
        span if not span.parent_id or span.parent_id in known else replace(span, parent_id=root) for span in spans
    ]
    return sorted(mended, key=lambda span: (bool(span.parent_id), span.start_ns, depth(span)))


def _cost(calls: Iterable[Call]) -> float | None:
    costs = [call.cost_usd for call in calls]
    return None if not costs or None in costs else sum(cost or 0 for cost in costs)


def _ns(at: datetime) -> int:
    """Nanoseconds since the epoch, without what floating point would lose."""
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 1_000_000_000 + at.microsecond * 1000
