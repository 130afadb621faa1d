"""The recorded runs happen again, byte for byte, wherever they are played: another folder, another HOME."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentd.evidence.files import NAMES, comparable
from tests.evidence.recorder import RECORDED, SCENARIOS, Played, play

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Played]:
    return play(tmp_path_factory.mktemp("a folder of another name"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_recorded_run_happens_again(again: dict[str, Played], name: str) -> None:
    played, scenario = again[name], SCENARIOS[name]
    found = (played.state, played.terminal_reason, played.failure_mode)
    assert found == (scenario.state, scenario.terminal_reason, scenario.failure_mode)
    for file in NAMES:
        recorded = (RECORDED / name / file).read_bytes()
        assert comparable(file, played.files[file]) == comparable(file, recorded), f"{name}/{file}"


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.rule])
def test_its_trace_has_a_span_that_denies_by_the_rule(again: dict[str, Played], name: str) -> None:
    spans = [attributes(span) for span in spans_of(again[name])]
    rule = SCENARIOS[name].rule
    denying = [span for span in spans if span.get("agent.policy.decision") == "deny"]
    assert [span["agent.policy.rule_id"] for span in denying] == [rule]
    assert denying[0]["agent.span.kind"] == "policy_check"
    roots = [span for span in spans if span["agent.span.kind"] == "run"]
    assert [root["agent.terminal_reason"] for root in roots] == [SCENARIOS[name].terminal_reason]


def test_nothing_of_the_machine_is_in_what_was_recorded(again: dict[str, Played]) -> None:
    for played in again.values():
        for file, content in played.files.items():
            for word in (b"another name", str(Path.home()).encode(), b"127.0.0.1", b"practice-key"):
                assert word not in content, f"{played.name}/{file}: {word!r}"


def spans_of(played: Played) -> list[Any]:
    spans: list[Any] = json.loads(played.files["trace.json"])["resourceSpans"][0]["scopeSpans"][0]["spans"]
    return spans


def attributes(span: Any) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}
