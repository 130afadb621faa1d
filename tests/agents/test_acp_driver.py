"""The driver that holds an agent's conversation, in front of an agent that does what it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentd.agents import ADAPTERS, AgentEvent, LaunchSpec, Outcome
from agentd.agents.events import Denied, Error, Final, Raw, Started, Text, ToolCall, ToolResult, Usage
from agentd.model import Profile

AGENT = Path(__file__).with_name("fake_acp_agent.py")
DENY_RM = """
import json, sys
asked = sys.stdin.read()
open("{folder}/asked", "a").write(asked + chr(10))
if "rm" in asked:
    decision = {{"permissionDecision": "deny", "permissionDecisionReason": "rm is not allowed"}}
    print(json.dumps({{"hookSpecificOutput": decision}}))
"""


@dataclass(frozen=True)
class Stage:
    folder: Path

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def received(self) -> list[dict[str, Any]]:
        """What the agent was sent."""
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def hook(self, text: str = DENY_RM) -> tuple[str, ...]:
        (self.folder / "hook.py").write_text(text.format(folder=self.folder))
        return sys.executable, str(self.folder / "hook.py")

    def start(
        self, *actions: dict[str, Any], hook: tuple[str, ...] = (), resume: str | None = None
    ) -> subprocess.Popen[bytes]:
        (self.folder / "script").write_text("".join(json.dumps(action) + "\n" for action in actions))
        (self.folder / "log").touch()
        command = (sys.executable, str(AGENT), str(self.folder / "script"), str(self.folder / "log"))
        spec = LaunchSpec(
            prompt="do it",
            workspace=self.workspace,
            home=self.folder / "home",
            profile=Profile(name="p", adapter="acp", command=command),
            base_env={"PATH": os.environ["PATH"]},
            limit_seconds=60,
            prompt_file=self.folder / "prompt",
            resume=resume,
            hook=hook,
        )
        launch = ADAPTERS["acp"].launch(spec)
        for path, text in launch.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        process = subprocess.Popen(
            launch.argv,
            env=launch.env,
            cwd=self.workspace,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(launch.stdin or b"")
        process.stdin.close()
        process.stdin = None
        return process

    def run(self, *actions: dict[str, Any], **how: Any) -> tuple[list[AgentEvent], Outcome]:
        return judged(self.start(*actions, **how))


def judged(process: subprocess.Popen[bytes]) -> tuple[list[AgentEvent], Outcome]:
    output, errors = process.communicate(timeout=60)
    parser = ADAPTERS["acp"].parser()
    events = [event for line in output.splitlines() for event in parser.feed(line)]
    assert not [event for event in events if isinstance(event, Raw)]
    return events, parser.close(process.returncode, errors.decode())


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "home").mkdir()
    return Stage(tmp_path)


SHELL = {"id": "c1", "kind": "execute", "input": {"command": "ls"}}
REMOVE = {"id": "c2", "kind": "execute", "input": {"command": "rm -r x"}}
END = {"stop": "end_turn"}


def test_a_turn_becomes_events(stage: Stage) -> None:
    events, outcome = stage.run(
        {"say": "I "}, {"say": "look."}, {"ask": SHELL}, {"call": SHELL}, {"say": "All done."}, END
    )
    assert events == [
        Started("s1"),
        Text("I look."),
        ToolCall("c1", "a tool", "shell", {"command": "ls"}),
        ToolResult("c1", True, ""),
        Text("All done."),
        Usage(7, 3),
        Final("All done."),
    ]
    assert outcome.kind == "success"
    assert (stage.workspace / "ran.txt").read_text() == "ls"
    prompt = next(message for message in stage.received if message.get("method") == "session/prompt")
    assert prompt["params"]["prompt"] == [{"type": "text", "text": "do it"}]


def test_the_hook_is_asked_in_words_that_it_knows(stage: Stage) -> None:
    write = {"id": "w", "kind": "edit", "input": {"filePath": "/w/a.txt"}}
    stage.run({"ask": SHELL}, {"ask": write}, END, hook=stage.hook())
    asked = [json.loads(line) for line in (stage.folder / "asked").read_text().splitlines()]
    assert [(each["tool_name"], each["tool_input"]) for each in asked] == [
        ("Bash", {"command": "ls"}),
        ("Write", {"file_path": "/w/a.txt"}),
    ]
    assert asked[0]["cwd"] == str(stage.workspace)


def test_what_the_hook_refuses_is_not_done_and_the_agent_hears_why(stage: Stage) -> None:
    events, outcome = stage.run({"ask": REMOVE}, END, {"say": "Without, then."}, END, hook=stage.hook())
    assert Denied("c2", "rm is not allowed") in events
    assert not (stage.workspace / "ran.txt").exists()
    prompts = [message["params"]["prompt"] for message in stage.received if message.get("method") == "session/prompt"]
    assert "rm is not allowed" in prompts[1][0]["text"]
    assert (outcome.kind, events[-1]) == ("success", Final("Without, then."))


def test_an_agent_that_never_stops_to_try_is_not_sent_on_for_ever(stage: Stage) -> None:
    events, outcome = stage.run(*[{"ask": REMOVE}, END] * 30, hook=stage.hook())
    assert sum(isinstance(event, Denied) for event in events) == 10
    assert outcome.kind == "success"


@pytest.mark.parametrize(
    "hook",
    ["import sys; sys.exit(1)", "print('no JSON')", "print('{{}}')", "print('[' * 100000)"],
    ids=["fails", "babbles", "says nothing", "nests"],
)
def test_a_hook_that_cannot_judge_refuses(stage: Stage, hook: str) -> None:
    events, _ = stage.run({"ask": SHELL}, {"say": "ok"}, END, hook=stage.hook(hook))
    [denied] = [event for event in events if isinstance(event, Denied)]
    assert "could not be asked" in denied.reason
    assert not (stage.workspace / "ran.txt").exists()


def test_a_hook_that_is_not_there_refuses(stage: Stage) -> None:
    events, _ = stage.run({"ask": SHELL}, {"say": "ok"}, END, hook=(sys.executable, "/no/such/hook.py"))
    assert any(isinstance(event, Denied) for event in events)
    assert not (stage.workspace / "ran.txt").exists()


def test_a_command_that_is_not_told_is_refused_where_a_hook_judges(stage: Stage) -> None:
    untold = {"id": "c3", "kind": "execute", "input": {"what": "a secret"}}
    events, _ = stage.run({"ask": untold}, {"say": "ok"}, END, hook=stage.hook())
    assert any(isinstance(event, Denied) and "not told" in event.reason for event in events)


def test_an_agent_that_acts_against_the_policy_without_asking_has_failed(stage: Stage) -> None:
    _, outcome = stage.run({"call": REMOVE}, {"say": "done"}, END, hook=stage.hook())
    assert (outcome.kind, outcome.retryable) == ("failed", False)
    assert "did not ask" in outcome.message
    assert "rm is not allowed" in outcome.message


def test_what_the_policy_allows_need_not_be_asked(stage: Stage) -> None:
    _, outcome = stage.run({"call": SHELL}, {"say": "done"}, END, hook=stage.hook())
    assert outcome.kind == "success"


def test_a_refused_call_that_is_reported_as_completed_was_asked_for(stage: Stage) -> None:
    acted = REMOVE | {"id": "another id"}
    events, outcome = stage.run({"ask": REMOVE}, {"call": acted}, {"say": "done"}, END, hook=stage.hook())
    assert ToolResult("another id", False, "") in events
    assert outcome.kind == "success"


@pytest.mark.parametrize("kind", ["edit", "delete", "move", "other"])
def test_without_a_hook_only_the_workspace_may_be_written(stage: Stage, kind: str) -> None:
    (stage.workspace / "out").symlink_to(stage.folder)
    wishes = [
        {"id": f"c{number}", "kind": kind, "input": {"path": path}}
        for number, path in enumerate([str(stage.workspace / "a/b.txt"), "b.txt", "/etc/x", "../x", "out/x"])
    ]
    events, _ = stage.run(*({"ask": wish} for wish in wishes), {"say": "ok"}, END)
    assert [event.id for event in events if isinstance(event, Denied)] == ["c2", "c3", "c4"]


def test_fetching_is_refused(stage: Stage) -> None:
    wish = {"id": "f", "kind": "fetch", "input": {"url": "https://example.com"}}
    events, _ = stage.run({"ask": wish}, {"say": "ok"}, END)
    assert any(isinstance(event, Denied) for event in events)


def test_files_in_the_workspace_are_read_and_written(stage: Stage) -> None:
    (stage.workspace / "a.txt").write_text("one\ntwo\nthree\n")
    (stage.workspace / "link").symlink_to("a.txt")
    stage.run(
        {"fs": ["fs/read_text_file", {"path": "a.txt"}]},
        {"fs": ["fs/read_text_file", {"path": "link", "line": 2, "limit": 1}]},
        {"fs": ["fs/write_text_file", {"path": str(stage.workspace / "new/deep/b.txt"), "content": "bee"}]},
        END,
    )
    answers = [message.get("result") for message in stage.received if str(message.get("id")).startswith("agent-")]
    assert answers == [{"content": "one\ntwo\nthree\n"}, {"content": "two\n"}, {}]
    assert (stage.workspace / "new/deep/b.txt").read_text() == "bee"


def test_a_text_that_no_file_can_hold_leaves_the_file_as_it_was(stage: Stage) -> None:
    (stage.workspace / "a.txt").write_text("one\n")
    stage.run({"fs": ["fs/write_text_file", {"path": "a.txt", "content": "1 \ud83d"}]}, {"say": "ok"}, END)
    [answer] = [message for message in stage.received if str(message.get("id")).startswith("agent-")]
    assert "error" in answer and (stage.workspace / "a.txt").read_text() == "one\n"


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "out", "folder/secret", "a/../../secret"])
@pytest.mark.parametrize("method", ["fs/read_text_file", "fs/write_text_file"])
def test_no_file_outside_the_workspace_is_read_or_written(stage: Stage, method: str, path: str) -> None:
    secret = stage.folder / "secret"
    secret.write_text("the secret")
    (stage.workspace / "out").symlink_to(secret)
    (stage.workspace / "folder").symlink_to(stage.folder)
    events, _ = stage.run({"fs": [method, {"path": path, "content": "overwritten"}]}, {"say": "ok"}, END)
    [answer] = [message for message in stage.received if str(message.get("id")).startswith("agent-")]
    assert "outside" in answer["error"]["message"]
    assert secret.read_text() == "the secret"
    assert any(isinstance(event, Denied) for event in events) == (method == "fs/write_text_file")


def test_the_hook_is_asked_before_the_client_writes(stage: Stage) -> None:
    events, _ = stage.run(
        {"fs": ["fs/write_text_file", {"path": "rm.txt", "content": "x"}]}, {"say": "ok"}, END, hook=stage.hook()
    )
    assert any(isinstance(event, Denied) for event in events)
    assert not (stage.workspace / "rm.txt").exists()


def test_methods_that_are_not_offered_are_refused_and_noise_is_passed_over(stage: Stage) -> None:
    _, outcome = stage.run(
        {"fs": ["terminal/create", {"command": "ls"}]},
        {"fs": ["fs/read_text_file", {"path": None}]},
        {"raw": "Welcome!"},
        {"raw": "[1, 2]"},
        {"raw": '{"method": "session/update"}'},
        {"raw": '{"method": "session/update", "params": {"update": {"sessionUpdate": "tool_call"}}}'},
        {"say": "ok"},
        END,
    )
    assert outcome.kind == "success"
    codes = [message["error"]["code"] for message in stage.received if "error" in message]
    assert codes[0] == -32601


def test_a_session_is_taken_up_again_without_its_old_story(stage: Stage) -> None:
    events, outcome = stage.run({"say": "again"}, END, resume="s1")
    assert [event for event in events if isinstance(event, Text)] == [Text("again")]
    assert outcome.session_id == "s1"
    load = next(message for message in stage.received if message.get("method") == "session/load")
    assert load["params"] == {"sessionId": "s1", "cwd": str(stage.workspace), "mcpServers": []}


@pytest.mark.parametrize(
    ("action", "kind", "retryable"),
    [
        ({"stop": "max_tokens"}, "limit", False),
        ({"stop": "refusal"}, "failed", False),
        ({"stop": "novelty"}, "failed", False),
        ({"fail": "401 Incorrect API key"}, "auth_error", False),
        ({"fail": "429 Too Many Requests"}, "quota", True),
        ({"fail": "503 Service Unavailable"}, "api_error", True),
        ({"exit": 3}, "failed", True),
    ],
)
def test_an_end_that_is_none_is_told(stage: Stage, action: dict[str, Any], kind: str, retryable: bool) -> None:
    events, outcome = stage.run({"say": "hm"}, action)
    assert (outcome.kind, outcome.retryable) == (kind, retryable)
    assert isinstance(events[-1], Error)
    assert Text("hm") in events


def test_a_signal_cancels_the_turn_and_ends_the_agent(stage: Stage) -> None:
    process = stage.start({"say": "here"}, {"ask": SHELL}, {"hang": True})
    until = time.monotonic() + 30
    while not (stage.workspace / "ran.txt").exists() and time.monotonic() < until:
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.send_signal(signal.SIGTERM)
    _, outcome = judged(process)
    assert (process.returncode, outcome.kind) == (143, "cancelled")
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
