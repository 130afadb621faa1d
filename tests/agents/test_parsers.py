"""The parsers on what real agents wrote (transcripts/, recorded against the practice model), and on noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.agents import ADAPTERS, AgentEvent, EventParser, Outcome, adapter_of
from agentd.agents.events import (
    MOST_TOKENS,
    Denied,
    Error,
    Final,
    Raw,
    Retry,
    Started,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Usage,
    add_usage,
)
from agentd.agents.transcript import number, usd
from agentd.model import Profile
from tests.agents.real import documented

TRANSCRIPTS = Path(__file__).parent / "transcripts"
RECORDED = sorted(path.name for path in TRANSCRIPTS.iterdir() if path.suffix != ".stderr")


OTHERS = {
    "opencode-acp": Profile(name="p", adapter="acp"),
    "codex-asking": Profile(name="p", adapter="codex-app-server"),
    "pi": Profile(name="pi", **documented("pi")),
}
"""Transcripts whose name is not that of an adapter."""


def parser_of(name: str) -> EventParser:
    """The parser for a transcript of that name."""
    agent, *_ = [agent for agent in OTHERS if name.startswith(f"{agent}-")] or [name.split("-")[0]]
    return adapter_of(OTHERS.get(agent) or Profile(name="p", adapter=agent)).parser()


def replay(name: str, exit_status: int = 0) -> tuple[list[AgentEvent], Outcome]:
    path = TRANSCRIPTS / name
    parser = parser_of(name)
    events = [event for line in path.read_bytes().splitlines(keepends=True) for event in parser.feed(line)]
    stderr = path.with_suffix(".stderr")
    return events, parser.close(exit_status, stderr.read_text() if stderr.exists() else "")


def of(kind: type[Any], events: list[AgentEvent]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize(
    ("name", "kinds"), [("claude-edit.jsonl", ["shell", "write"]), ("codex-edit.jsonl", ["shell"] * 2)]
)
def test_a_run_that_edits_a_file(name: str, kinds: list[str]) -> None:
    events, outcome = replay(name)
    assert isinstance(events[0], Started)
    assert [call.kind for call in of(ToolCall, events)] == kinds
    assert [result.ok for result in of(ToolResult, events)] == [True, True]
    assert [call.id for call in of(ToolCall, events)] == [result.id for result in of(ToolResult, events)]
    assert Text("I look.") in events
    assert events[-1] == Final("All done.")
    assert not of(Raw, events)
    assert outcome.kind == "success"
    assert outcome.session_id == events[0].session_id
    usage = outcome.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.scope) == (1434, 76, 34, "total")


RECORDED_EDITS = {
    "opencode-edit.jsonl": (["shell", "shell"], 1434, 76, 34),
    "opencode-acp-edit.jsonl": (["shell", "shell"], 100, 10, 0),
    "codex-asking-edit.jsonl": (["shell", "shell"], 1434, 76, 34),
    "pi-edit.jsonl": (["shell", "write"], 1434, 76, 34),
}
"""Kinds of the tools, and tokens: input, output, cached. The Agent Client Protocol tells those of the last answer."""


@pytest.mark.parametrize("name", RECORDED_EDITS)
def test_a_recorded_run_that_edits_a_file(name: str) -> None:
    kinds, *tokens = RECORDED_EDITS[name]
    events, outcome = replay(name)
    assert isinstance(events[0], Started)
    assert [call.kind for call in of(ToolCall, events)] == kinds
    assert [result.ok for result in of(ToolResult, events)] == [True, True]
    assert [call.id for call in of(ToolCall, events)] == [result.id for result in of(ToolResult, events)]
    assert Text("I look.") in events
    assert of(Final, events) == [Final("All done.")]
    assert outcome.kind == "success"
    assert outcome.session_id == events[0].session_id
    usage = outcome.usage
    assert [usage.input_tokens, usage.output_tokens, usage.cached_tokens] == tokens
    # pi tells much besides.
    assert not of(Raw, events) or name.startswith("pi")


@pytest.mark.parametrize("name", RECORDED_EDITS)
def test_a_recorded_resumed_session_is_the_same_session(name: str) -> None:
    events, outcome = replay(name.replace("edit", "resume"))
    assert (outcome.kind, outcome.session_id) == ("success", of(Started, events)[0].session_id)
    assert [text.text for text in of(Text, events)] == ["again"]
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (100, 10)


@pytest.mark.parametrize("name", [name for name in RECORDED_EDITS if name != "pi-edit.jsonl"])
def test_a_recorded_denial(name: str) -> None:
    events, outcome = replay(name.replace("edit", "denied"))
    [denied] = of(Denied, events)
    [refused, *allowed] = of(ToolResult, events)
    assert (refused.id, refused.ok) == (denied.id, False)
    assert [result.ok for result in allowed] == [True]
    assert denied.reason
    assert "relevant rules" not in denied.reason
    assert outcome.kind == "success"


@pytest.mark.parametrize("exit_status", [0, 1])
@pytest.mark.parametrize("name", RECORDED_EDITS)
def test_a_recorded_refused_key_is_an_auth_error_whatever_the_exit_status(name: str, exit_status: int) -> None:
    _, outcome = replay(name.replace("edit", "401"), exit_status)
    assert (outcome.kind, outcome.retryable) == ("auth_error", False)


def test_claude_shows_its_thoughts_and_its_cost() -> None:
    events, outcome = replay("claude-edit.jsonl")
    assert Thought("hm") in events
    assert outcome.usage.cost_usd == pytest.approx(0.0035634)


def test_claude_counts_only_its_own_cost_in_a_resumed_session() -> None:
    _, outcome = replay("claude-resume.jsonl")
    assert outcome.usage.cost_usd == pytest.approx(0.0003)


def _model_used(tokens: int, usd: float) -> dict[str, Any]:
    return {"inputTokens": tokens, "outputTokens": 1, "cacheReadInputTokens": 2, "thinkingTokens": 1, "costUSD": usd}


def test_claude_counts_its_subagents_and_every_result_of_a_run() -> None:
    parser = ADAPTERS["claude"].parser()
    main = {"input_tokens": 10, "output_tokens": 1}
    first = {"sonnet": _model_used(8, 0.5), "haiku": _model_used(100, 0.25)}
    for since in (first, {"haiku": _model_used(50, 0.125)}, None):
        told = {"model_usage_since_last_result": since, "usage": main} if since else {"usage": {"input_tokens": 0}}
        parser.feed(json.dumps({"type": "result", "subtype": "success", "result": "ok", **told}).encode())
    assert parser.close(0, "").usage == Usage(164, 3, 6, 3, 0.875, "total")


@pytest.mark.parametrize("name", ["claude-401.jsonl", "claude-429.jsonl"])
def test_claude_tells_no_usage_between_tries_in_vain_and_their_error(name: str) -> None:
    events, _ = replay(name, 1)
    last_try = max(at for at, event in enumerate(events) if isinstance(event, Retry))
    assert [type(event) for event in events[last_try + 1 :] if isinstance(event, (Usage, Error))][:1] == [Error]


def test_claude_names_what_was_denied() -> None:
    events, outcome = replay("claude-denied.jsonl")
    assert [(type(event), event.reason) for event in of(Denied, events)] == [(Denied, "This command requires approval")]
    assert [result.ok for result in of(ToolResult, events)] == [False, True, True]
    assert outcome.kind == "success"


def test_claude_denials_are_taken_from_the_result_where_nothing_told_of_them_before() -> None:
    parser = ADAPTERS["claude"].parser()
    denied = [{"tool_name": "Bash", "tool_use_id": "t1", "tool_input": {}}]
    line = {"type": "result", "subtype": "success", "is_error": False, "result": "ok", "permission_denials": denied}
    assert parser.feed(json.dumps(line).encode()) == [Denied("t1", "Bash is not allowed"), Final("ok")]


@pytest.mark.parametrize(
    ("name", "status"), [("claude-429.jsonl", 429), ("claude-401.jsonl", 401), ("codex-429.jsonl", 429)]
)
def test_retries_carry_their_status(name: str, status: int) -> None:
    retries = of(Retry, replay(name, 1)[0])
    assert [(retry.attempt, retry.status) for retry in retries][:3] == [(1, status), (2, status), (3, status)]


def test_codex_warnings_are_no_errors() -> None:
    events, outcome = replay("codex-named.jsonl")
    assert outcome.kind == "success"
    assert "Model metadata" in of(Raw, events)[0].line


def test_codex_reports_a_patch_when_it_is_applied() -> None:
    item = {"id": "i1", "type": "file_change", "changes": [{"path": "a", "kind": "add"}], "status": "completed"}
    line = json.dumps({"type": "item.completed", "item": item}).encode()
    call, result = ADAPTERS["codex"].parser().feed(line)
    assert (call, result) == (
        ToolCall("i1", "file_change", "edit", {"changes": item["changes"]}),
        ToolResult("i1", True, ""),
    )


def test_deepagents_text_becomes_events() -> None:
    events, outcome = replay("deepagents-edit.txt")
    assert [call.kind for call in of(ToolCall, events)] == ["shell", "write"]
    assert of(Final, events) == [Final("All done.")]
    assert outcome.session_id == of(Started, events)[0].session_id
    assert len(outcome.session_id or "") == 36


def test_deepagents_quiet_says_its_session_on_standard_error() -> None:
    events, outcome = replay("deepagents-quiet.txt")
    assert of(Text, events) == [Text("line one"), Text("line two")]
    assert outcome.kind == "success"
    assert len(outcome.session_id or "") == 36


@pytest.mark.parametrize("status", [0, 1])
def test_a_deepagents_without_a_shell_has_failed_though_it_says_that_it_completed_its_task(status: int) -> None:
    parser = ADAPTERS["deepagents"].parser()
    for line in (
        "Calling tool: execute",
        "Shell command rejected (no allow-list configured): ls",
        "Done.",
        "✓ Task completed",
    ):
        parser.feed(line.encode())
    outcome = parser.close(status, "")
    assert (outcome.kind, outcome.retryable) == ("failed", False)
    assert "no shell tool" in outcome.message


def test_command_output_is_text_even_where_it_looks_like_events() -> None:
    parser = ADAPTERS["command"].parser()
    line = b'{"type":"result","subtype":"success","is_error":true}'
    assert parser.feed(line + b"\n") == [Text(line.decode())]
    assert parser.close(0, "").kind == "success"


@pytest.mark.parametrize("adapter", ["acp", "claude", "codex", "codex-app-server", "opencode"])
@pytest.mark.parametrize(
    "line",
    [
        b"npm warn deprecated",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'{"type":"novelty","x":1}',
        b'{"type":"assistant","message":{"content":[{"type":"text"}]}}',
        b'{"type":"item.completed","item":"?"}',
        b'{"type":"item.completed","item":{"type":"agent_mess',
        b"[" * 100_000,
        b'{"type":"result","usage":[1],"subtype":"success"}',
        b'{"n":' + b"9" * 10_000 + b"}",
        b'{"event":"novelty"}',
        b'{"event":"tool_call"}',
        b'{"type":"tool_use","part":{"state":[]},"sessionID":7}',
    ],
)
def test_a_line_nobody_knows_is_kept_raw(adapter: str, line: bytes) -> None:
    parser = ADAPTERS[adapter].parser()
    assert parser.feed(line) == [Raw(line.decode(errors="replace"))]
    assert parser.close(0, "").kind == "failed"


def test_what_agents_escape_is_read_as_text_that_can_be_kept() -> None:
    parser = ADAPTERS["claude"].parser()
    said = rb'{"type":"text","text":"\ud83d\u0000 \ud83d\ude00 \\ud83d"}'
    assert parser.feed(b'{"type":"assistant","message":{"content":[' + said + b"]}}") == [Text("�� \U0001f600 \\ud83d")]
    call = rb'{"type":"tool_use","id":"1","name":"Ba\udfffsh","input":{"\ud83d":["\ud83d"]}}'
    assert parser.feed(b'{"type":"assistant","message":{"content":[' + call + b"]}}") == [
        ToolCall("1", "Ba�sh", "other", {"�": ["�"]})
    ]
    assert parser.close(3, "fatal: bad object \0").message.endswith("bad object �")


def test_numbers_that_agents_tell_are_bounded_singly_and_in_sum() -> None:
    huge = 10**30
    assert (number(huge), number(True), number(-1), number("7")) == (MOST_TOKENS, 0, 0, 0)
    assert add_usage(Usage(number(huge)), Usage(number(huge), scope="delta")).input_tokens == MOST_TOKENS
    assert [usd(cost) for cost in (0.5, huge, 10**400, float("nan"), float("inf"), -1, "1")] == [0.5, *[None] * 6]


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_a_huge_line_is_survived(adapter: str) -> None:
    parser = ADAPTERS[adapter].parser()
    assert len(parser.feed(b'{"type":"assistant","x":"' + b"a" * 2**20)) == 1


@given(data=st.data())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("name", RECORDED)
def test_no_mutilation_of_a_transcript_raises(name: str, data: st.DataObject) -> None:
    lines = (TRANSCRIPTS / name).read_bytes().splitlines() or [b""]
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(st.sampled_from(mutilations(lines[at])))
    parser = parser_of(name)
    for line in lines:
        parser.feed(line)
    parser.close(data.draw(st.sampled_from([0, 1, 124, 137, 143, -9, -15, 255])), "Thread: \nerror")


def mutilations(line: bytes) -> list[bytes]:
    """The line cut in the middle, and with each value at its top two levels made something else."""
    made = [line[: len(line) // 2], line + line, b""]
    try:
        whole = json.loads(line)
    except ValueError:
        return made
    for holder in [whole, *(value for value in whole.values() if isinstance(value, dict))]:
        for key, value in list(holder.items()):
            for other in (None, 7, "x", [], {}, [None], {"a": 1}):
                holder[key] = other
                made.append(json.dumps(whole).encode())
            holder[key] = value
    return made


def test_usage_is_added_up_by_scope() -> None:
    total = Usage(scope="total")
    for new in (Usage(1, 2), Usage(3, 4, cost_usd=0.5), Usage(1, 1, 1, 1, 0.25)):
        total = add_usage(total, new)
    assert total == Usage(5, 7, 1, 1, 0.75, "total")
    assert add_usage(total, Usage(9, 9, scope="total")).input_tokens == 9


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "behind a byte order mark"])
@pytest.mark.parametrize("half", [b"\\ud83d", b"\xed\xa0\xbd"], ids=["escaped", "as bytes"])
def test_half_a_character_hides_no_line(start: bytes, half: bytes) -> None:
    parser = parser_of("claude")
    said = b'{"type":"assistant","message":{"content":[{"type":"text","text":"a ' + half + b' b"}]}}\n'
    events = parser.feed(start + said)
    assert [event.text for event in events if isinstance(event, Text)] == ["a \ufffd b"]
