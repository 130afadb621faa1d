"""The gates: each rule denies what it is for, the order is the precedence, and one table says what ends a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.model import Decision
from agentd.policy.document import checker
from agentd.policy.gates import (
    ENDS_RUN,
    GATES,
    Gates,
    Limit,
    RunMeters,
    ToolCall,
    evaluate,
    over_budget,
    repeat_key,
)

SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string", "minLength": 1}, "url": {"type": "string"}},
    "additionalProperties": False,
}
STRICT = Gates(
    version="f" * 64,
    allowed=frozenset({"read", "write", "fetch", "shell"}),
    denied=frozenset({"rm"}),
    tier="T2",
    schemas={"read": checker(SCHEMA), "fetch": checker(SCHEMA)},
    roots=("/workspace", "/tmp"),
    read_roots=("/workspace", "/usr"),
    hosts=frozenset({"docs.example", "*.cdn.example"}),
    max_repeats=3,
    limits=(Limit("iterations", 10), Limit("tokens", 1000), Limit("cost", 1.5), Limit("wall", 60)),
)
GOOD = RunMeters()


def write(named: str, real: str = "") -> ToolCall:
    return ToolCall("write", {"path": named}, "write", writes=((named, real or named),))


def read(named: str, real: str = "") -> ToolCall:
    return ToolCall("read", {"path": named}, "read", reads=((named, real or named),))


def fetch(url: str) -> ToolCall:
    return ToolCall("fetch", {"url": url}, "network", url=url)


CASES: list[tuple[Gates, ToolCall, RunMeters, str, str]] = [
    (STRICT, read("/workspace/a"), RunMeters(killed="stop"), "kill_switch", "being ended: stop"),
    (STRICT, read("/workspace/a"), RunMeters(revoked="lost"), "revoked", "may not act any more: lost"),
    (STRICT, ToolCall("rm", {}), GOOD, "tool_registry", "'rm' is denied"),
    (STRICT, ToolCall("spawn", {}), GOOD, "tool_registry", "'spawn' is not an allowed one"),
    (replace(STRICT, tier="T0"), write("/workspace/a"), GOOD, "tier", "would write, which tier T0 may not"),
    (replace(STRICT, tier="T1"), ToolCall("shell", {}, "execute"), GOOD, "tier", "would execute"),
    (STRICT, ToolCall("read", {"path": 3}), GOOD, "arg_schema", '/path: 3 is not of type "string"'),
    (STRICT, ToolCall("read", {"path": "a", "more": 1}), GOOD, "arg_schema", "'more' was unexpected"),
    (STRICT, ToolCall("read", "a"), GOOD, "arg_schema", "is not of type"),
    (STRICT, write("/etc/passwd"), GOOD, "sandbox_path", "/etc/passwd is outside /workspace; only files in"),
    (STRICT, write("/workspace/link", "/etc/passwd"), GOOD, "sandbox_path", "leads to /etc/passwd, which is outside"),
    (STRICT, write("/workspacex/a"), GOOD, "sandbox_path", "outside"),
    (STRICT, read("/home/agent/.ssh/id"), GOOD, "sandbox_path", "may be read"),
    (STRICT, fetch("https://evil.example/x"), GOOD, "url_allowlist", "'evil.example' is not on the list"),
    (STRICT, fetch("https://docs.example.evil/x"), GOOD, "url_allowlist", "not on the list"),
    (STRICT, fetch("https://cdn.example/x"), GOOD, "url_allowlist", "not on the list"),
    (STRICT, fetch("https://docs.example@evil.example/"), GOOD, "url_allowlist", "may not name a user"),
    (STRICT, fetch("https://docs.example\\@evil.example/"), GOOD, "url_allowlist", ""),
    (STRICT, fetch("https://docs.example:8080/"), GOOD, "url_allowlist", "port 8080"),
    (STRICT, fetch("file:///etc/passwd"), GOOD, "url_allowlist", "file is not http"),
    (STRICT, fetch("http://[::1"), GOOD, "url_allowlist", "cannot be read"),
    (STRICT, read("/workspace/a"), RunMeters(repeats=3), "cycle_detection", "was called 3 times"),
    (STRICT, read("/workspace/a"), RunMeters(iterations=10), "loop_budget", "10 iterations of the run are used"),
    (STRICT, read("/workspace/a"), RunMeters(tokens=1000), "loop_budget", "1000 tokens"),
    (STRICT, read("/workspace/a"), RunMeters(cost_usd=1.5), "loop_budget", "1.5 usd"),
    (STRICT, read("/workspace/a"), RunMeters(wall_seconds=60), "loop_budget", "60 s"),
]


@pytest.mark.parametrize(("gates", "call", "meters", "rule", "said"), CASES)
def test_each_rule_denies_what_it_is_for(gates: Gates, call: ToolCall, meters: RunMeters, rule: str, said: str) -> None:
    verdict = evaluate(gates, call, meters, "run:r")
    assert verdict is not None
    assert (verdict.control, verdict.rule_id, verdict.scope) == ("policy", rule, "run:r")
    assert verdict.decision is (Decision.halt if ENDS_RUN[rule] else Decision.deny)
    assert said in verdict.observed and verdict.action
    assert verdict.evidence[-1] == "policy=ffffffffffff"


def test_every_rule_has_a_case_and_says_whether_it_ends_the_run() -> None:
    rules = [rule for rule, _ in GATES]
    assert rules == [
        *("kill_switch", "revoked", "tool_registry", "tier", "arg_schema", "sandbox_path", "url_allowlist"),
        *("cycle_detection", "loop_budget"),
    ]
    assert {rule for *_, rule, _ in CASES} == set(rules)
    assert {rule for rule, ends in ENDS_RUN.items() if ends} == {"cycle_detection", "loop_budget"}
    assert set(rules) | {"command_policy"} == set(ENDS_RUN)


@pytest.mark.parametrize(
    "call",
    [
        read("/workspace/a"),
        read("/workspace"),
        read("/usr/lib/x"),
        write("/tmp/x"),
        write("/workspace/link", "/workspace/real"),
        fetch("https://docs.example/x?y"),
        fetch("http://DOCS.example./x"),
        fetch("https://a.b.cdn.example:443/"),
        ToolCall("shell", {"command": "ls"}, "execute"),
    ],
)
def test_what_no_rule_is_against_may_be_done(call: ToolCall) -> None:
    almost = RunMeters(repeats=2, iterations=9, tokens=999, cost_usd=1.49, wall_seconds=59.9)
    assert evaluate(STRICT, call, almost, "run:r") is None
    assert evaluate(Gates(version=""), call, RunMeters("", "", 10**6, 10**6, 10**9, 1e9, 1e9), "r") is None or call.url


def test_the_order_of_the_gates_is_the_precedence() -> None:
    """A call that everything is against is denied by each rule in turn, as those before it stop objecting."""
    meters = RunMeters("stop", "lost", 3, 10)
    call = ToolCall("spawn", 7, "execute", (("/etc/x", "/etc/x"),), (("/root", "/root"),), "ftp://evil.example")
    gates = replace(STRICT, tier="T0", schemas={"spawn": checker(SCHEMA)})
    seen = []
    for _ in GATES:
        verdict = evaluate(gates, call, meters, "r")
        assert verdict is not None
        seen.append(verdict.rule_id)
        match verdict.rule_id:
            case "kill_switch":
                meters = meters._replace(killed="")
            case "revoked":
                meters = meters._replace(revoked="")
            case "tool_registry":
                gates = replace(gates, allowed=None)
            case "tier":
                gates = replace(gates, tier="T2")
            case "arg_schema":
                gates = replace(gates, schemas={})
            case "sandbox_path":
                gates = replace(gates, roots=(), read_roots=())
            case "url_allowlist":
                call = call._replace(url="")
            case "cycle_detection":
                meters = meters._replace(repeats=0)
    assert seen == [rule for rule, _ in GATES]


def test_the_loop_budget_ends_a_run_that_calls_no_tools() -> None:
    assert over_budget(STRICT, GOOD, "r") is None
    verdict = over_budget(STRICT, RunMeters(tokens=1001), "r")
    assert verdict is not None
    assert (verdict.rule_id, verdict.limit, verdict.decision) == ("loop_budget", "1000 tokens", Decision.halt)
    assert "limit_kind=tokens" in verdict.evidence


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.text("abc", max_size=2), json_values, max_size=4), json_values)
def test_a_call_is_the_same_in_whatever_order_its_arguments_stand(given_: dict[str, Any], other: Any) -> None:
    turned = dict(reversed(given_.items()))
    assert repeat_key(ToolCall("t", given_)) == repeat_key(ToolCall("t", turned)) != repeat_key(ToolCall("u", given_))
    if given_ != other:
        assert given_ == other or repeat_key(ToolCall("t", {"x": given_})) != repeat_key(ToolCall("t", {"y": other}))


def test_what_is_kept_of_a_call_is_short_whatever_it_says() -> None:
    keys = {repeat_key(ToolCall(tool, {"text": text})) for tool in ("t", "t" * 9999) for text in ("a" * 9999, "\ud83d")}
    assert len(keys) == 4 and {len(key) for key in keys} == {64}
