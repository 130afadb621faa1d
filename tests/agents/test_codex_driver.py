"""The driver of `codex app-server`, in front of one that does what it is told to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentd.agents import ADAPTERS, AgentEvent, Outcome
from agentd.agents.driving import SOURCES
from agentd.agents.events import Denied, Final, ToolResult, Usage

SERVER = Path(__file__).with_name("fake_app_server.py")
HOOK = """
import json, sys
asked = str(json.load(sys.stdin)["tool_input"])
if "rm" in asked or "/etc" in asked:
    print(json.dumps({"hookSpecificOutput": {"permissionDecision": "deny", "permissionDecisionReason": "not this"}}))
"""
ASK_COMMAND, ASK_PATCH = "item/commandExecution/requestApproval", "item/fileChange/requestApproval"


def run(folder: Path, *actions: dict[str, Any], hook: bool = True) -> tuple[list[AgentEvent], Outcome, list[Any]]:
    """The events, the outcome, and the answers that the server got."""
    (folder / "script").write_text("".join(json.dumps(action) + "\n" for action in actions))
    (folder / "hook.py").write_text(HOOK)
    (folder / "log").touch()
    (folder / "workspace").mkdir()
    start = f"import sys; sys.path.append({str(SOURCES.parent)!r}); from drivers.codex import main; "
    start += "sys.exit(main(sys.argv[1:]))"
    hooks = [f"--hook={sys.executable}", f"--hook={folder}/hook.py"] if hook else []
    server = [sys.executable, str(SERVER), str(folder / "script"), str(folder / "log")]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start, *hooks, "--", *server],
        cwd=folder / "workspace",
        input=b"do it",
        capture_output=True,
        timeout=60,
    )
    parser = ADAPTERS["codex-app-server"].parser()
    events = [event for line in done.stdout.splitlines() for event in parser.feed(line)]
    answers = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    return events, parser.close(done.returncode, done.stderr.decode()), answers


def begun(item: dict[str, Any]) -> dict[str, Any]:
    return {"method": "item/started", "params": {"item": item}}


def finished(item: dict[str, Any]) -> dict[str, Any]:
    return {"method": "item/completed", "params": {"item": {"status": "completed", **item}}}


def command(text: str) -> dict[str, Any]:
    return {"id": "i1", "type": "commandExecution", "command": f"/bin/bash -lc {json.dumps(text)}", "exitCode": 0}


def patch(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"id": "i1", "type": "fileChange", "changes": list(changes)}


@pytest.mark.parametrize(
    ("item", "ask", "params", "decision"),
    [
        (command("ls"), ASK_COMMAND, {"command": "/bin/bash -lc ls"}, "accept"),
        (command("rm x"), ASK_COMMAND, {"command": "/bin/bash -lc 'rm x'"}, "decline"),
        (command("rm x"), ASK_COMMAND, {}, "decline"),
        (command("ls"), ASK_COMMAND, {"networkApprovalContext": {"host": "example.com"}}, "decline"),
        (patch({"path": "a.txt", "kind": {"type": "add"}}), ASK_PATCH, {}, "accept"),
        (patch({"path": "/etc/x", "kind": {"type": "add"}}), ASK_PATCH, {}, "decline"),
        (patch({"path": "a.txt", "kind": {"type": "update", "move_path": "/etc/x"}}), ASK_PATCH, {}, "decline"),
        (patch({"path": "a.txt", "kind": {"type": "add"}}), ASK_PATCH, {"grantRoot": "/etc"}, "decline"),
        (patch(), ASK_PATCH, {}, "decline"),
    ],
)
def test_what_codex_asks_is_judged(
    tmp_path: Path, item: dict[str, Any], ask: str, params: dict[str, Any], decision: str
) -> None:
    events, outcome, answers = run(tmp_path, begun(item), {"asks": ask, "params": {"itemId": "i1", **params}})
    assert [answer["result"] for answer in answers] == [{"decision": decision}]
    assert [event.id for event in events if isinstance(event, Denied)] == (["i1"] if decision == "decline" else [])
    assert outcome.kind == "success"


@pytest.mark.parametrize(("path", "decision"), [("a.txt", "accept"), ("/etc/x", "decline"), ("../x", "decline")])
def test_without_a_hook_only_the_workspace_may_be_written(tmp_path: Path, path: str, decision: str) -> None:
    ask = {"asks": ASK_PATCH, "params": {"itemId": "i1"}}
    _, _, answers = run(tmp_path, begun(patch({"path": path, "kind": {"type": "add"}})), ask, hook=False)
    assert answers[0]["result"] == {"decision": decision}


@pytest.mark.parametrize("method", ["item/permissions/requestApproval", "item/tool/requestUserInput", "item/tool/call"])
def test_nothing_else_is_granted(tmp_path: Path, method: str) -> None:
    _, outcome, answers = run(tmp_path, {"asks": method, "params": {"itemId": "i1"}})
    assert "error" in answers[0]
    assert outcome.kind == "success"


@pytest.mark.parametrize("item", [command("rm x"), patch({"path": "/etc/x", "kind": {"type": "add"}})])
def test_a_codex_that_acts_against_the_policy_without_asking_has_failed(tmp_path: Path, item: dict[str, Any]) -> None:
    _, outcome, _ = run(tmp_path, begun(item), finished(item))
    assert (outcome.kind, outcome.retryable) == ("failed", False)
    assert "did not ask" in outcome.message


def test_what_codex_holds_for_harmless_and_the_policy_too_need_not_be_asked(tmp_path: Path) -> None:
    _, outcome, _ = run(tmp_path, begun(command("ls")), finished(command("ls")))
    assert outcome.kind == "success"


def test_tokens_of_earlier_turns_are_not_counted(tmp_path: Path) -> None:
    def used(turn: str) -> dict[str, Any]:
        last = {"inputTokens": 7, "outputTokens": 3}
        return {"method": "thread/tokenUsage/updated", "params": {"turnId": turn, "tokenUsage": {"last": last}}}

    events, outcome, _ = run(tmp_path, used("an earlier one"), used("u1"), used("u1"))
    assert [event for event in events if isinstance(event, Usage)] == [Usage(7, 3), Usage(7, 3)]
    assert outcome.usage.input_tokens == 14


def test_the_end_of_a_subagent_is_not_that_of_the_run(tmp_path: Path) -> None:
    def of(thread: str, method: str, **params: Any) -> dict[str, Any]:
        return {"method": method, "params": {"threadId": thread, **params}}

    used = {"turnId": "u2", "tokenUsage": {"last": {"inputTokens": 7, "outputTokens": 3}}}
    said, done = {"id": "i1", "type": "agentMessage"}, {"id": "u2", "status": "completed"}
    events, outcome, _ = run(
        tmp_path,
        of("t2", "turn/started", turn={"id": "u2"}),
        of("t1", "item/completed", item={**said, "text": "All done."}),
        of("t2", "item/completed", item={**said, "text": "Found it."}),
        of("t2", "thread/tokenUsage/updated", **used),
        of("t2", "turn/completed", turn=done),
        begun(command("ls")),
        finished(command("ls")),
    )
    assert [event.ok for event in events if isinstance(event, ToolResult)] == [True]
    assert (events[-1], outcome.usage.input_tokens) == (Final("All done."), 7)
