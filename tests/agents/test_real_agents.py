"""The real programs, started as their adapters start them, against the practice model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from agentd.agents.events import Denied, ToolCall
from agentd.practice.model import ScriptedModel
from tests.agents.real import AGENTS, Rig, make_rig, new_folder

pytestmark = pytest.mark.real_agents

COUNTED = {"opencode-acp": 100, "deepagents": 0, "dcode-acp": 0, "mini": 0}
"""Input tokens of three answers with 100 each, as far as an agent tells; the others tell all of them."""

ONLY_LS = """
import json, sys
asked = json.load(sys.stdin)
command = asked["tool_input"].get("command")
words = command if isinstance(command, list) else str(command).split()
if command and words[-1] != "ls":
    decision = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": "only ls"}
    print(json.dumps({"hookSpecificOutput": decision}))
"""


def of(*agents: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rig", agents, indirect=True)


@pytest.fixture(params=AGENTS)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with new_folder() as folder, ScriptedModel() as model:
        yield make_rig(request.param, folder, model)


def test_it_edits_a_file_and_says_so(rig: Rig) -> None:
    events, outcome = rig.run(
        [{"shell": "echo hi > a.txt"}, {"write": {"path": "b.txt", "content": "bee"}}, {"text": "All done."}],
        **({"shell_allow": ("all",)} if rig.agent == "deepagents" else {}),
    )
    assert (outcome.kind, outcome.message) == ("success", "")
    assert (rig.workspace / "a.txt").read_text() == "hi\n"
    assert (rig.workspace / "b.txt").read_text() == "bee"
    if rig.agent != "mini":
        assert next(event.kind for event in events if isinstance(event, ToolCall)) == "shell"
    assert outcome.usage.input_tokens == COUNTED.get(rig.agent, 300)
    assert any("please edit" in str(request.body) for request in rig.requests())


# Deep Agents puts so long a prompt into a file of its own and tells the model where that is.
@of("claude", "codex", "codex-asking", "opencode", "opencode-acp", "pi")
def test_a_prompt_longer_than_an_argument_can_be_arrives_whole(rig: Rig) -> None:
    prompt = "x" * 200_000 + " THE END"
    _, outcome = rig.run([{"text": "read"}], prompt=prompt)
    assert outcome.kind == "success"
    assert any(prompt in str(request.body) for request in rig.requests())


@of("claude", "codex", "codex-asking", "opencode", "opencode-acp", "deepagents", "pi")
def test_a_session_is_resumed_with_what_was_said_before(rig: Rig) -> None:
    _, first = rig.run([{"text": "The word is heron."}])
    _, second = rig.run([{"text": "again"}], prompt="go on", resume=first.session_id)
    assert (second.kind, second.session_id) == ("success", first.session_id)
    assert "The word is heron." in str(rig.requests()[-1].body)
    assert second.usage.input_tokens in (0, 100, 200)


@of("claude", "codex", "codex-asking", "opencode", "opencode-acp", "deepagents", "dcode-acp")
def test_a_command_that_is_not_allowed_does_not_run(rig: Rig) -> None:
    (rig.folder / "hook.py").write_text(ONLY_LS)
    events, outcome = rig.run(
        [{"shell": "touch no"}, {"shell": "ls"}, {"text": "ok"}],
        shell_allow=("ls",),
        hook=(sys.executable, str(rig.folder / "hook.py")),
    )
    assert outcome.kind == "success"
    assert not (rig.workspace / "no").exists()
    # Of a hook's refusal codex says nothing, nor does Deep Agents of its own.
    told = 0 if rig.agent in ("codex", "deepagents") else 1
    assert sum(isinstance(event, Denied) for event in events) == told


@of("claude")
def test_claude_is_refused_what_the_allow_list_does_not_name(rig: Rig) -> None:
    events, _ = rig.run(
        [{"shell": "python3 -c \"open('no','w')\""}, {"shell": "ls"}, {"text": "ok"}], shell_allow=("ls",)
    )
    assert [isinstance(event, Denied) for event in events].count(True) == 1
    assert not (rig.workspace / "no").exists()


@of("claude")
def test_claude_counts_a_subagent_that_works_beside_it(rig: Rig) -> None:
    task = {"description": "d", "prompt": "say hi", "subagent_type": "general-purpose"}
    script = [{"call": {"name": "Agent", "input": task}}, *({"text": "said"} for _ in range(5))]
    _, outcome = rig.run(script)
    assert outcome.kind == "success"
    assert outcome.usage.input_tokens == 100 * len(rig.requests()) > 200


@of("mini")
def test_mini_has_no_limit_of_its_own_at_which_it_would_end_well(rig: Rig) -> None:
    costly = {"shell": "echo a > a.txt", "usage": {"input": 20_000_000}}
    _, outcome = rig.run([costly, {"shell": "echo b > b.txt"}, {"text": "All done."}])
    assert outcome.kind == "success"
    assert (rig.workspace / "b.txt").exists()


@of("opencode")
def test_opencode_writes_nothing_outside_and_fetches_nothing(rig: Rig) -> None:
    outside = rig.folder / "outside.txt"
    events, outcome = rig.run(
        [{"write": {"path": str(outside), "content": "x"}}, {"shell": f"touch {outside}"}, {"text": "ok"}]
    )
    assert outcome.kind == "success"
    assert not outside.exists()
    assert sum(isinstance(event, Denied) for event in events) == 2
    offered: list[dict[str, Any]] = rig.requests()[-1].body["tools"]
    assert not {"webfetch", "websearch"} & {tool["function"]["name"] for tool in offered}


@of("codex")
def test_codex_shell_does_not_see_the_key(rig: Rig) -> None:
    rig.run([{"shell": "env > seen.txt"}, {"text": "ok"}])
    assert "OPENAI_API_KEY" not in (rig.workspace / "seen.txt").read_text()
