"""Following runs: in order, as it comes, several at once, and without what an agent must not do to a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.agents import adapter_of, events
from agentd.errors import AgentdError
from agentd.model import Profile
from agentd.states import RunState as S
from agentd.views.following import Tail, chosen, follow_all
from agentd.views.moments import MOST_LINES, Moment, moment_of
from tests.views.conftest import Home

TRANSCRIPTS = Path(__file__).parents[1] / "agents" / "transcripts"
CANARY = "canary-7f3a9c1e5b2d"


def told(moments: list[Moment]) -> list[str]:
    return [f"{moment.kind} {moment.text}" for moment in moments]


def test_a_run_is_told_in_its_order_as_it_comes(home: Home) -> None:
    run_id = home.run()
    new = follow_all(home.settings, {}, [run_id])
    assert told(new()[0]) == ["state queued"]
    home.move(run_id, S.preparing, S.syncing, S.running)
    home.program(run_id, "agent-0", b"I look.\nI wri")
    assert told(new()[0]) == ["state preparing", "state syncing", "state running", "text I look."]
    home.print(run_id, "agent-0", b"te.\n")
    assert told(new()[0]) == ["text I write."]
    home.move(run_id, S.verifying)
    home.program(run_id, "verify-0", b"1 failed\n")
    home.move(run_id, S.fixing)
    home.program(run_id, "agent-1", b"I mend.\n")
    home.move(run_id, S.verifying)
    home.program(run_id, "verify-1", b"1 passed")
    moments, ended = new()
    assert told(moments) == [
        *("state verifying", "verify 1 failed", "state fixing", "text I mend.", "state verifying"),
    ]
    assert ended == []
    home.move(run_id, S.failed, reason="a cause")
    moments, [run] = new()
    assert told(moments) == ["verify 1 passed", "state failed: a cause"]
    assert run["state"] == "failed"
    again = told(follow_all(home.settings, {}, [run_id])()[0])
    assert again.index("text I mend.") < again.index("verify 1 passed") < again.index("state failed: a cause")
    assert len(again) == 13


def test_several_runs_at_once(home: Home) -> None:
    first, second = home.run("issue-1"), home.run("issue-2")
    new = follow_all(home.settings, {}, [first, second])
    assert {moment.run_id for moment in new()[0]} == {first, second}
    home.move(first, S.cancelled)
    home.move(second, S.preparing)
    moments, ended = new()
    assert [(moment.run_id, moment.text) for moment in moments] == [(first, "cancelled"), (second, "preparing")]
    assert [run["run_id"] for run in ended] == [first]
    assert new() == ([], ended)


def test_the_newest_that_runs_is_chosen_else_the_newest(home: Home) -> None:
    with pytest.raises(AgentdError, match="no run yet"):
        chosen(home.settings, every=False)
    first, second, third = (home.run(f"issue-{number}") for number in (1, 2, 3))
    home.move(third, S.cancelled)
    assert chosen(home.settings, every=False) == [second]
    assert chosen(home.settings, every=True) == [first, second]
    home.move(first, S.cancelled)
    home.move(second, S.cancelled)
    assert chosen(home.settings, every=False) == chosen(home.settings, every=True) == [third]
    with pytest.raises(AgentdError, match="no such run"):
        follow_all(home.settings, {}, ["nothing"])


def test_output_that_was_begun_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "x")
    assert tail.lines() == []
    tail.path.write_bytes(b"one\ntwo\nthr")
    assert tail.lines() == [b"one", b"two"]
    tail.path.write_bytes(b"new\n")
    assert tail.lines() == [b"new"]
    tail.path.write_bytes(b"new\nmore")
    assert (tail.lines(), tail.last(), tail.last()) == ([], [b"more"], [])


@pytest.mark.parametrize("adapter", ["command", "unknown"])
def test_nothing_moves_the_cursor_and_no_secret_is_told(home: Home, adapter: str) -> None:
    run_id = home.run(adapter=adapter)
    home.program(
        run_id, "agent-0", b"\x1b[2Jclear \x9b5A " + CANARY.encode() + b" ghp_0123456789abcdefghijABCDEFGHIJ0123\n"
    )
    home.program(run_id, "verify-0", b"\x1b]0;title\x07" + CANARY.encode() + b"\n")
    moments, _ = follow_all(home.settings, {"SOME_API_KEY": CANARY}, [run_id])()
    text = "".join(moment.text + "".join(moment.lines) for moment in moments)
    assert "clear" in text and "title" in text and "***REDACTED***" in text
    assert CANARY not in text and "ghp_" not in text
    assert all(character.isprintable() for character in text)


@pytest.mark.parametrize(
    "name", sorted(path.name for path in TRANSCRIPTS.glob("*-edit.jsonl") if not path.name.startswith("pi"))
)
def test_real_transcripts_show_what_was_done(home: Home, name: str) -> None:
    adapter = name.partition("-edit")[0]
    profiles = {"codex-asking": "codex-app-server", "opencode-acp": "acp"}
    run_id = home.run(adapter=profiles.get(adapter, adapter))
    home.program(run_id, "agent-0", (TRANSCRIPTS / name).read_bytes())
    moments, _ = follow_all(home.settings, {}, [run_id])()
    assert any(moment.kind == "tool" and "a.txt" in moment.text for moment in moments), told(moments)


EDITS = [
    (
        {"file_path": "a.py", "old_string": "x = 1\ny", "new_string": "x = 2\ny"},
        ("@@ -1,2 +1,2 @@", "-x = 1", "+x = 2", " y"),
    ),
    ({"path": "a.py", "old_str": "a", "new_str": "b"}, ("@@ -1 +1 @@", "-a", "+b")),
    ({"path": "a.py", "content": "one\ntwo"}, ("+one", "+two")),
    ({"patch": "--- a\n+++ b\n-x\n+y"}, ("--- a", "+++ b", "-x", "+y")),
    ({"changes": [{"path": "a.py", "kind": "add", "diff": "+1\n+2"}]}, ("add a.py", "+1", "+2")),
    ({"edits": [{"oldText": "a", "newText": "b"}]}, ("@@ -1 +1 @@", "-a", "+b")),
    ({"command": "ls"}, ()),
    ({"file_path": 3, "old_string": None, "content": ["x"]}, ()),
]


@pytest.mark.parametrize(("given", "lines"), EDITS)
def test_an_edit_is_shown_as_a_diff(given: dict[str, object], lines: tuple[str, ...]) -> None:
    moment = moment_of("r", events.ToolCall("1", "Edit", "edit", given))
    assert moment is not None and moment.lines == lines


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (events.Started("s", "m-1"), "state the agent begins (m-1)"),
        (events.Thought("hm\nhm"), "thought hm hm"),
        (events.Text("I look.\nthen"), "text I look."),
        (events.ToolCall("1", "Bash", "shell", {"command": "ls -l\npwd"}), "tool $ ls -l pwd"),
        (events.ToolCall("1", "exec", "shell", {"command": ["bash", "-c", "ls"]}), "tool $ bash -c ls"),
        (events.ToolCall("1", "Read", "read", {"file_path": "a.py"}), "tool Read a.py"),
        (events.ToolResult("1", True, ""), "result done"),
        (events.ToolResult("1", False, "no such file"), "failed no such file"),
        (events.Denied("1", "rm is not allowed"), "denied rm is not allowed"),
        (events.Error("quota", "used up"), "error used up"),
        (events.Retry(2, 529), "error the model call is repeated (2), status 529"),
        (events.Usage(1200, 34), "usage 1,200 tokens in, 34 out"),
        (events.Raw("?"), "output ?"),
    ],
)
def test_every_event_has_a_line(event: events.AgentEvent, said: str) -> None:
    moment = moment_of("r", event)
    assert moment is not None and f"{moment.kind} {moment.text}" == said


def test_long_output_is_cut_and_counted() -> None:
    moment = moment_of("r", events.ToolResult("1", True, "\n".join(str(number) for number in range(100))))
    assert moment is not None
    assert len(moment.lines) == MOST_LINES + 1 and moment.lines[-1] == f"... {99 - MOST_LINES} more lines"


def test_an_empty_raw_line_is_nothing() -> None:
    assert moment_of("r", events.Raw("  \n")) is None
    assert adapter_of(Profile(name="x", adapter="claude"))
