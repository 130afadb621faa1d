"""The recorded runs happen again, byte for byte, wherever they are played: another folder, another HOME."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentd.evidence.files import NAMES, comparable
from tests.evidence.recorder import RECORDED, SCENARIOS, play

FOLDER = "a folder of another name"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_recorded_run_happens_again(tmp_path: Path, name: str) -> None:
    scenario, played = SCENARIOS[name], play(tmp_path / FOLDER, [name])[name]
    found = (played.state, played.terminal_reason, played.failure_mode)
    assert found == (scenario.state, scenario.terminal_reason, scenario.failure_mode)
    for file in NAMES:
        recorded = (RECORDED / name / file).read_bytes()
        assert comparable(file, played.files[file]) == comparable(file, recorded), f"{name}/{file}"
        for word in (FOLDER, str(tmp_path), str(Path.home()), "127.0.0.1", "practice-key"):
            assert word.encode() not in played.files[file], f"{name}/{file}: {word}"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_recorded_trace_denies_by_its_rule_and_says_how_it_ended(name: str) -> None:
    scenario = SCENARIOS[name]
    spans = [attributes(span) for span in spans_of(RECORDED / name)]
    denying = [span for span in spans if span.get("agent.policy.decision") == "deny"]
    assert [span["agent.policy.rule_id"] for span in denying] == ([scenario.rule] if scenario.rule else [])
    assert {span["agent.span.kind"] for span in denying} <= {"policy_check"}
    [root] = [span for span in spans if span["agent.span.kind"] == "run"]
    assert root["agent.terminal_reason"] == scenario.terminal_reason
    assert root.get("agent.failure_mode", "") == scenario.failure_mode


def test_nothing_else_is_recorded() -> None:
    assert {path.name for path in RECORDED.iterdir()} == set(SCENARIOS)
    assert {path.name for path in RECORDED.glob("*/*")} == set(NAMES)


def spans_of(folder: Path) -> list[Any]:
    spans: list[Any] = json.loads((folder / "trace.json").read_text())["resourceSpans"][0]["scopeSpans"][0]["spans"]
    return spans


def attributes(span: Any) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}
