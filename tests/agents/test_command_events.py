"""Rules by which the output of any program becomes events."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest

from agentd.agents import LaunchSpec, Outcome, adapter_of
from agentd.agents.command_events import value_at
from agentd.agents.events import AgentEvent, Error, Final, Raw, Started, Text, ToolCall, ToolResult, Usage
from agentd.errors import ConfigurationError
from agentd.model import Profile
from tests.agents.conftest import SPEC
from tests.agents.real import PAGE

FINAL = {"event": "final", "when": {"/type": "end", "/ok": True}, "fields": {"text": "/said"}}


def profile(*rules: dict[str, Any], **fields: Any) -> Profile:
    events = {"format": "jsonl", "rules": rules}
    return Profile(name="mine", adapter="command", command=("true",), events=events, **fields)


def read(lines: list[Any], *rules: dict[str, Any], status: int = 0, **fields: Any) -> tuple[list[AgentEvent], Outcome]:
    parser = adapter_of(profile(*rules, **fields)).parser()
    events = [event for line in lines for event in parser.feed(json.dumps(line).encode() + b"\n")]
    return events, parser.close(status, "")


def test_each_event_can_be_made() -> None:
    line = {"n": 1, "id": "i", "name": "bash", "args": {"command": "ls"}, "out": [{"text": "a"}, {"x": 1}], "bad": True}
    line |= {"used": {"in": 5, "cached": 7, "out": 3}, "why": "503 overloaded"}
    made = {
        "started": ({"session_id": "/id", "model": "/name"}, Started("i", "bash")),
        "text": ({"text": "/out"}, Text("a")),
        "tool_call": ({"id": "/id", "name": "/name", "input": "/args"}, ToolCall("i", "bash", "shell", line["args"])),
        "tool_result": ({"id": "/id", "output": "/out", "failed": "/bad"}, ToolResult("i", False, "a")),
        "usage": (
            {"input_tokens": "/used/in + /used/cached", "output_tokens": "/used/out", "cached_tokens": "/used/cached"},
            Usage(12, 3, 7),
        ),
        "final": ({"text": "/why"}, Final("503 overloaded")),
        "error": ({"message": "/why"}, Error("api_error", "503 overloaded", True)),
    }
    for event, (fields, expected) in made.items():
        rule = {"event": event, "when": {"/n": 1}, "fields": fields}
        assert read([line], rule, resume=("{session}",))[0] == [expected]


def test_several_rules_may_fit_a_line_and_a_line_without_one_is_kept() -> None:
    rules = [{"event": "text", "when": {}, "fields": {"text": "/said"}}, FINAL]
    events, outcome = read([{"said": "hm"}, {"type": "end", "ok": True, "said": "done"}, {"x": 1}], *rules)
    assert events == [Text("hm"), Text("done"), Final("done"), Raw('{"x": 1}')]
    assert outcome.kind == "success"


@pytest.mark.parametrize(
    "line", [{"type": "end", "ok": 1}, {"type": "end", "ok": "true"}, {"type": "end"}, {"ok": True}]
)
def test_a_rule_fits_only_by_value_and_type(line: dict[str, Any]) -> None:
    _, outcome = read([line], FINAL)
    assert outcome.kind == "failed"


def test_an_error_decides_over_exit_status_0_and_a_final_after_it_over_the_error() -> None:
    failed = {"event": "error", "when": {"/type": "oops"}, "fields": {"message": "/why"}, "kind": "api_error"}
    oops, end = {"type": "oops", "why": "it broke"}, {"type": "end", "ok": True}
    assert read([oops], FINAL, failed)[1].kind == "api_error"
    assert read([oops, end], FINAL, failed)[1].kind == "success"
    assert read([{"type": "oops", "why": "401 no"}], FINAL, failed)[1].kind == "auth_error"


def test_a_session_that_nothing_continues_is_not_told() -> None:
    rule = {"event": "started", "when": {"/type": "session"}, "fields": {"session_id": "/id"}}
    line = {"type": "session", "id": "s1"}
    assert read([line], rule, FINAL)[1].session_id is None
    assert read([line], rule, FINAL, resume=("--session", "{session}"))[1].session_id == "s1"


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/a/b", 1),
        ("/list/1", "y"),
        ("/list/9", None),
        ("/list/x", None),
        ("/a/b/c", None),
        ("/no", None),
        ("/with~1slash", 2),
        ("/with~0tilde", 3),
    ],
)
def test_pointers(pointer: str, value: Any) -> None:
    line = {"a": {"b": 1}, "list": ["x", "y"], "with/slash": 2, "with~tilde": 3}
    assert value_at(line, pointer) == value


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([FINAL, {"event": "usage", "when": {}, "fields": {"tokens": "/x"}}], "rule 2 .* usage the field 'tokens'"),
        (
            [FINAL, {"event": "text", "when": {}, "fields": {"text": "said"}}],
            "rule 2 .* 'said', which is no JSON pointer",
        ),
        ([FINAL, {"event": "text", "when": {"type": "x"}}], "rule 2 .* 'type', which is no JSON pointer"),
        ([{"event": "text", "when": {}}], "no rule for 'final'"),
    ],
)
def test_rules_that_cannot_work_are_refused_by_number(rules: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'mine': .*{told}"):
        adapter_of(profile(*rules)).probe("true", {"PATH": "/usr/bin:/bin"})


def test_every_profile_of_the_page_can_be_started() -> None:
    names = []
    for block in re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        for name, fields in tomllib.loads(block)["profiles"].items():
            chosen = Profile(name=name, **fields)
            if chosen.events.format == "jsonl":
                adapter_of(chosen).probe("true", {"PATH": "/usr/bin:/bin"})
            base = {"PATH": "/usr/bin", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": "k"}
            spec = LaunchSpec(**{**vars(SPEC), "profile": chosen, "base_env": base, "sandboxed": True})
            assert adapter_of(chosen).launch(spec).argv
            names.append(name)
    assert {"opencode", "opencode-acp", "pi", "mini", "aider", "qwen", "gemini"} <= set(names)
