"""Seven faults of a model's service, and how each real agent ends with them: nothing hangs, nothing is left running."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentd.practice.model import ScriptedModel
from tests.agents.real import AGENTS as ALL
from tests.agents.real import Ran, make_rig, new_folder

pytestmark = [pytest.mark.real_agents, pytest.mark.timeout(900)]

AGENTS = [agent for agent in ALL if agent != "dcode-acp"]
"""It is Deep Agents again, and slow."""

FAULTS: dict[str, list[dict[str, Any]]] = {
    "429 twice": [{"status": 429, "retry_after": 1, "times": 2}, {"text": "done"}],
    "401": [{"status": 401, "times": -1}],
    "500 for ever": [{"status": 500, "times": -1}],
    "garbage": [{"garbage": True, "times": -1}],
    "cut in mid-stream": [{"disconnect": "stream", "times": -1}],
    "hang": [{"hang": True, "times": -1}],
    "endless loop": [{"shell": "ls", "times": -1}],
}

SILENT = {"ended: silent", "ended: timeout"}
"""The guardian ended it: it said nothing for too long, or its time was over."""

PATIENT = {"success", "failed"} | SILENT
"""mini-swe-agent repeats whatever failed, ever more slowly, and knows no errors but its exit status."""

TABLE: dict[str, dict[str, set[str]]] = {
    "429 twice": {agent: {"success"} for agent in AGENTS} | {"mini": PATIENT},
    "401": {agent: {"auth_error"} for agent in AGENTS} | {"mini": PATIENT},
    "500 for ever": {agent: {"api_error"} for agent in AGENTS}
    | {"opencode": SILENT, "opencode-acp": SILENT, "mini": PATIENT},
    "garbage": {agent: {"api_error", "failed"} for agent in AGENTS} | {"mini": PATIENT},
    "cut in mid-stream": {agent: {"api_error"} for agent in AGENTS}
    | {"opencode": SILENT, "opencode-acp": SILENT, "mini": PATIENT},
    "hang": dict.fromkeys(AGENTS, SILENT),
    "endless loop": {agent: {"ended: timeout"} for agent in AGENTS},
}
"""The kind of the outcome; where there are several, it depends on how busy the machine is."""

FEWER_RETRIES: dict[str, dict[str, Any]] = {
    "claude": {"env": {"CLAUDE_CODE_MAX_RETRIES": "2"}},
    "deepagents": {"command": ("--max-retries", "2")},
    "pi": {"files": {".pi/agent/settings.json": '{"retry": {"enabled": true, "maxRetries": 2, "baseDelayMs": 500}}'}},
}
"""Agents repeat failed calls for minutes, if they are let."""

STARTS_SLOWLY = ("opencode", "opencode-acp", "deepagents", "mini")
SILENCE_SECONDS = 6.0
AT_ONCE = {"deepagents": 1}
"""Runs of one agent side by side, else two, most of which wait. Deep Agents keeps two processors busy at its start."""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with new_folder() as folder:
        yield folder


@pytest.mark.parametrize("agent", AGENTS)
def test_every_fault_ends_as_the_table_says_and_leaves_nothing_running(agent: str, place: Path) -> None:
    with ScriptedModel() as model:
        ran = asyncio.run(_all(agent, place, model))
    ends = {fault: _end(each) for fault, each in ran.items()}
    wrong = {fault: (end, ran[fault].log[-1500:]) for fault, end in ends.items() if end not in TABLE[fault][agent]}
    assert not wrong, f"{ends}\n{wrong}"
    assert {fault: each.left for fault, each in ran.items() if each.left} == {}
    refused = ran["401"].outcome
    assert not refused.retryable or agent == "mini"


async def _all(agent: str, place: Path, model: ScriptedModel) -> dict[str, Ran]:
    places = asyncio.Semaphore(AT_ONCE.get(agent, 2))

    async def one(fault: str, script: list[dict[str, Any]]) -> Ran:
        folder = place / f"{agent}-{fault.replace(' ', '-')}"
        folder.mkdir()
        async with places:
            rig = await asyncio.to_thread(make_rig, agent, folder, model)
            limits = _limits(agent, fault)
            return await rig.ran(script, **limits, **FEWER_RETRIES.get(agent, {}))

    return dict(zip(FAULTS, await asyncio.gather(*(one(*each) for each in FAULTS.items())), strict=True))


def _limits(agent: str, fault: str) -> dict[str, float]:
    """Where a fault must be waited for, not long; where it ends by itself, the limit only guards the test."""
    slow = agent in STARTS_SLOWLY
    if fault == "endless loop":
        return {"limit_seconds": 25.0 if slow else 8.0}
    if fault == "hang" or TABLE[fault][agent] & SILENT:
        return {"limit_seconds": 30.0 if slow else 10.0, "silence_seconds": SILENCE_SECONDS}
    return {"limit_seconds": 120.0}


def _end(ran: Ran) -> str:
    return ran.outcome.kind if ran.ended.ended == "exited" else f"ended: {ran.ended.ended}"
