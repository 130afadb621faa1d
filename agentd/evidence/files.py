"""The files that say what a run did, as bytes. Pure: the same record gives the same files.

state.jsonl has a line for each stage and each turn of the agent, trace.json the spans, run_report.md what a person
reads first, changes.patch what the agent changed; manifest.json names the others by their sha256 and is written last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agentd.evidence.volatile import KEYS
from agentd.model import Event, Step, canonical_json
from agentd.states import BLOCKED_ENDS, RETRY_ENDS, RunState
from agentd.trace.otlp import resource_of, to_json
from agentd.trace.sinks import cleaned
from agentd.trace.span import RunRecord, Span, trace_id_of
from agentd.trace.spans import spans_of

STATE, TRACE, REPORT, PATCH, MANIFEST = NAMES = (
    "state.jsonl",
    "trace.json",
    "run_report.md",
    "changes.patch",
    "manifest.json",
)
"""In the order in which they are written."""
KINDS = ("agent_step", "llm_call", "tool_call", "policy_check", "retry_attempt")


@dataclass(frozen=True)
class About:
    """What the record itself does not have."""

    version: str
    """of agentd"""
    policy_sha: str = ""
    ledger: tuple[int, str] = (0, "")
    """sequence number and hash of the run's last event"""
    timestamp: str = ""


def evidence_of(record: RunRecord, patch: str, about: About, clean: Callable[[str], str]) -> dict[str, bytes]:
    """The files by name. `clean` takes secrets and paths of the machine out of every text."""
    spans = cleaned(spans_of(record), clean)
    state = "".join(f"{canonical_json(line)}\n" for line in _state(record, clean))
    trace = json.dumps(to_json(spans, resource_of(about.version)), indent=1, sort_keys=True, ensure_ascii=False)
    files = {
        STATE: state.encode(errors="replace"),
        TRACE: f"{trace}\n".encode(errors="replace"),
        REPORT: _report(record, spans, clean).encode(errors="replace"),
        PATCH: clean(patch).encode(errors="surrogateescape"),
    }
    manifest = json.dumps(_manifest(record, about, files), indent=2, sort_keys=True, ensure_ascii=False)
    return {**files, MANIFEST: f"{manifest}\n".encode(errors="replace")}


def comparable(name: str, content: bytes) -> bytes:
    """A file without what differs between two runs that did the same."""
    if name != MANIFEST:
        return content
    values: dict[str, Any] = json.loads(content)
    return canonical_json({key: value for key, value in values.items() if key not in KEYS}).encode()


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _manifest(record: RunRecord, about: About, files: Mapping[str, bytes]) -> dict[str, Any]:
    run = record.run
    name, _, revision = run.profile.partition("@")
    return {
        "schema": "agentd.evidence.v1",
        "run_id": run.run_id,
        "task_id": run.task_id,
        "issue_number": run.issue_number,
        "attempt": run.attempt,
        "repo": record.repo,
        "profile": {"name": name, "revision": revision},
        "policy": {"sha256": about.policy_sha},
        "code": {"version": about.version},
        "base_sha": run.base_sha,
        "head_sha": run.head_sha,
        "state": str(run.state),
        "terminal_reason": run.terminal_reason,
        "failure_mode": run.failure_mode,
        "trace_id": trace_id_of(run.run_id),
        "ledger": {"seq": about.ledger[0], "hash": about.ledger[1]},
        "files": {file: {"sha256": sha256_of(content), "bytes": len(content)} for file, content in files.items()},
        "timestamp": about.timestamp,
        "wall_clock_seconds": round((record.ended_at - run.started_at).total_seconds(), 3),
    }


def _state(record: RunRecord, clean: Callable[[str], str]) -> Iterator[dict[str, Any]]:
    """A line for each stage and each turn of the agent, in their order."""
    for index, step in enumerate(each for each in record.steps if each.kind in ("stage", "agent_turn")):
        tools = [each for each in record.steps if each.parent_id == step.step_id and each.kind == "tool_call"]
        retries = [each for each in record.steps if each.parent_id == step.step_id and each.kind == "retry_attempt"]
        inside = [event for _, event in record.events if _belongs(record, step, event)]
        errors = [{"exception_class": step.exception_class, "message": clean(step.summary)}]
        yield {
            "run_id": record.run.run_id,
            "step_index": index,
            "kind": step.kind,
            "name": step.name,
            "attempt": step.attempt,
            "state": step.state,
            "input_tokens": step.input_tokens,
            "output_tokens": step.output_tokens,
            "intended_tool_calls": [
                {"tool": tool.name, "args": clean(tool.summary), "fingerprint": tool.action_fingerprint}
                for tool in tools
            ],
            "policy_decisions": [_decision(event, clean) for event in inside if event.event_type == "policy_decided"],
            "tool_results": [_result(tool) for tool in tools],
            "retries": [{"attempt": each.attempt, "outcome": each.summary} for each in retries],
            "errors": errors if step.state == "failed" else [],
            "failure_mode": step.failure_mode or None,
        }


def _belongs(record: RunRecord, step: Step, event: Event) -> bool:
    """Whether an event happened in a step, and not in a turn within it."""

    def during(one: Step) -> bool:
        return one.started_at <= event.timestamp <= (one.ended_at or record.ended_at)

    turns = (each for each in record.steps if each.parent_id == step.step_id and each.kind == "agent_turn")
    return during(step) and not any(during(turn) for turn in turns)


def _decision(event: Event, clean: Callable[[str], str]) -> dict[str, Any]:
    data = event.data
    rule = str(data.get("rule_id") or data.get("kind"))
    return {"rule_id": rule, "decision": data.get("verdict"), "reason": clean(str(data.get("reason", "")))}


def _result(tool: Step) -> dict[str, Any]:
    if tool.state == "denied":
        return {"tool": tool.name, "ok": False, "skipped_by_policy": True}
    return {"tool": tool.name, "ok": tool.state == "ok", "fingerprint": tool.output_fingerprint}


def _report(record: RunRecord, spans: list[Span], clean: Callable[[str], str]) -> str:
    run, task = record.run, record.task
    counts = {kind: sum(span.attributes.get("agent.span.kind") == kind for span in spans) for kind in KINDS}
    verdicts = [event.data for _, event in record.events if event.event_type == "policy_decided"]
    denied = sum(each.get("verdict") in ("deny", "halt", "block") for each in verdicts)
    mode = f" ({run.failure_mode})" if run.failure_mode else ""
    bad = f"failure{mode}" if run.state in BLOCKED_ENDS | RETRY_ENDS else ""
    result = bad or ("cancelled" if run.state is RunState.cancelled else "success")
    failing = [step for step in record.steps if step.state == "failed"]
    lines = [
        f"# Run {run.run_id}",
        "",
        "## Setup",
        "",
        f"- Task: {run.task_id}, issue #{run.issue_number} of {record.repo}: {_line(clean(run.title))}",
        f"- Attempt {run.attempt} by {run.profile}, on the branch {run.branch}",
        f"- Verify command: `{_line(clean(task.verify_command))}`",
        f"- Trace: {trace_id_of(run.run_id)}",
        "",
        "## Outcome",
        "",
        f"- Result: {result}; state {run.state}, {run.terminal_reason or 'no reason'}",
        *([f"- Reason: {_line(clean(run.reason))}"] if run.reason else []),
        f"- Steps: {', '.join(f'{number} {kind}' for kind, number in counts.items())}",
        f"- Decisions: {len(verdicts) - denied} allowed or held, {denied} denied",
        f"- Model calls: {sum(call.input_tokens for call in record.calls)} tokens in, "
        f"{sum(call.output_tokens for call in record.calls)} out",
        "",
        "## Notes",
        "",
        *(f"- {step.kind} {step.name} failed: {_line(clean(step.summary))}" for step in failing),
        *(
            f"- {each.get('verdict')} {each.get('rule_id') or each.get('kind')}: "
            f"{_line(clean(str(each.get('reason', ''))))}"
            for each in verdicts
            if each.get("verdict") != "allow"
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
