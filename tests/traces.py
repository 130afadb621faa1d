"""A run as the store would have it, and a receiver of spans."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agentd.model import Decision, Event, Run, Step, Task, Verdict, root_step_id, stage_step_id, step_id_of
from agentd.states import RunState
from agentd.store.spending import Call
from agentd.store.verdicts import data_of
from agentd.trace.span import RunRecord

RUN = "issue-1-1-aaaaaa"
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def a_verdict(seconds: float, rule: str, decision: Decision, seq: int, limit: str = "") -> tuple[int, Event]:
    verdict = Verdict(
        control="policy", rule_id=rule, decision=decision, scope=RUN, observed=f"{rule} it is", limit=limit
    )
    return seq, an_event(seconds, "policy_decided", "failed", data_of(verdict))


def an_event(seconds: float, event_type: str, status: str, data: dict[str, Any]) -> Event:
    about = {"source": "worker", "repo": "alice/widget", "task_id": "issue-1", "run_id": RUN}
    values = {"event_id": f"evt_{seconds}", "timestamp": at(seconds), "event_type": event_type, "status": status}
    return Event.model_validate({**about, **values, "data": data})


def a_record(state: RunState = RunState.halted, **changes: Any) -> RunRecord:
    """Two stages; in the first a turn with a tool call, one that was denied, a model call, a denial and a halt."""
    root, stage = root_step_id(RUN), stage_step_id(RUN, "agent-0")
    turn = step_id_of(RUN, stage, "agent_turn", "build")
    run = Run(
        run_id=RUN,
        task_id="issue-1",
        issue_number=1,
        attempt=1,
        profile="build@0123456789ab",
        state=state,
        branch="agent/issue-1",
        title="Make it",
        reason="the budget is used up" if state is RunState.halted else "",
        terminal_reason="loop_budget" if state is RunState.halted else "final_answer",
        failure_mode="budget_exhausted" if state is RunState.halted else "",
        started_at=at(0),
        updated_at=at(60),
    )
    task = Task(
        task_id="issue-1", issue_number=1, title="Make it", goal="", verify_command="sh check.sh", rollback_note="",
        created_at=at(0),
    )  # fmt: skip
    more: dict[str, Any] = {"run_id": RUN, "started_at": at(1)}
    tool = {**more, "parent_id": turn, "kind": "tool_call", "name": "Bash"}
    steps = (
        Step(step_id=stage, parent_id=root, kind="stage", name="agent-0", state="ok", ended_at=at(40), **more),
        Step(
            step_id=turn, parent_id=stage, kind="agent_turn", name="build", state="ok", ended_at=at(39), run_id=RUN,
            started_at=at(2), input_tokens=7,
        ),
        Step.model_validate(
            {**tool, "step_id": step_id_of(RUN, turn, "tool_call", "Bash"), "state": "ok", "started_at": at(3)}
            | {"ended_at": at(4), "summary": "ls"}
        ),
        Step.model_validate(
            {**tool, "step_id": step_id_of(RUN, turn, "tool_call", "Bash", 2), "state": "denied", "started_at": at(5)}
            | {"ended_at": at(6), "attempt": 2}
        ),
        Step.model_validate(
            {**tool, "step_id": step_id_of(RUN, turn, "tool_call", "Bash", 3), "attempt": 3, "started_at": at(7)}
        ),
        Step(
            step_id=stage_step_id(RUN, "verify-0"), parent_id=root, kind="stage", name="verify-0", state="failed",
            run_id=RUN, started_at=at(41), ended_at=at(50), exception_class="GuardianDied", summary="it died",
        ),
    )  # fmt: skip
    call = Call(
        *("call-1", "g", RUN, "issue-1", "build", "claude-x", "messages", "anthropic", "2026-01-01", "settled"),
        *(200, 0, 100, 20, 30, 0, 0, 1000, 0.5, "", at(2.5).isoformat(), at(2.9).isoformat()),
    )
    events = (
        a_verdict(5.5, "url_allowlist", Decision.deny, 11),
        a_verdict(6.5, "tool_registry", Decision.allow, 12),
        a_verdict(38, "loop_budget", Decision.halt, 13, "250"),
        (14, an_event(49, "verify_finished", "failed", {"exit_code": 1})),
        a_verdict(55, "budget_day", Decision.hold, 15),
    )
    record = RunRecord(run, task, "alice/widget", at(60), steps, (call,), events)
    return RunRecord(**{**record.__dict__, **changes})


@dataclass
class Receiver:
    """A server that takes what is posted, and remembers it."""

    url: str
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    """JSON for a GET of a path"""
    status: int = 200
    location: str = ""
    """where posts are sent on to, when the status says so"""

    def spans(self) -> list[Any]:
        """Every span that has come, in the protocol's own form."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        bodies = [body for path, _, body in self.requests if path.endswith("/v1/traces")]
        requests = [ExportTraceServiceRequest.FromString(body) for body in bodies]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on loopback, inside the `with`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self._answer(made.status, b"")

        def do_GET(self) -> None:
            made.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, b""))
            found = made.answers.get(self.path.partition("?")[0])
            self._answer(404 if found is None else made.status, json.dumps(found).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if made.location:
                self.send_header("location", made.location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
