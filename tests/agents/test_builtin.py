"""The built-in agent as its adapter starts it, against the practice model: what it does, and what it does not."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentd.agents import adapter_of
from agentd.agents.builtin.program.backends import BACKENDS
from agentd.agents.builtin.program.conversation import Entry, shortened
from agentd.agents.builtin.program.shell import run
from agentd.agents.events import Denied, Final, Raw, Retry, ToolCall
from agentd.agents.events import ToolResult as Result
from agentd.errors import ConfigurationError
from agentd.model import Profile
from agentd.policy.allowlist import CommandRules, parse_allow_list
from agentd.sandbox.doors import Reach, open_doors
from tests.agents.builtin_rig import DIALECTS, REPORT, Rig, call


def test_a_text_that_no_file_can_hold_leaves_the_file_as_it_was(either: Rig) -> None:
    before = (either.workspace / "a.txt").read_bytes()
    events, outcome = either.run(
        [
            call("write_file", path="a.txt", content="1 \ud83d"),
            call("edit_file", path="a.txt", old="one", new="\ud83d"),
            call("write_file", path="\ud83d", content="x"),
            REPORT,
        ]
    )
    results = [event for event in events if isinstance(event, Result)][:3]
    assert [result.ok for result in results] == [False] * 3 and outcome.kind == "success"
    assert all("half of a character, '\\ud83d'" in result.output for result in results[:2])
    assert (either.workspace / "a.txt").read_bytes() == before


def test_it_edits_files_and_reports(either: Rig) -> None:
    events, outcome = either.run(
        [
            {"shell": "echo hi > b.txt", "say": "First the shell."},
            {"write": {"path": "new/c.txt", "content": "sea"}},
            call("edit_file", path="a.txt", old="one", new="1"),
            call("read_file", path="a.txt"),
            call("list_files"),
            REPORT,
        ]
    )
    assert (outcome.kind, outcome.message, either.exit_status) == ("success", "", 0)
    assert (either.workspace / "b.txt").read_text() == "hi\n"
    assert (either.workspace / "new" / "c.txt").read_text() == "sea"
    assert (either.workspace / "a.txt").read_text() == "1\ntwo\ntwo\n"
    assert either.types() == ["thought", *["tool_call", "tool_result"] * 6, "final_report"]
    results = [event.output for event in events if isinstance(event, Result)]
    assert results[3:5] == ["1\t1\n2\ttwo\n3\ttwo", ".git/\na.txt\nb.txt\nnew/"]
    assert [event.kind for event in events if isinstance(event, ToolCall)][:3] == ["shell", "write", "edit"]
    [report] = either.data("final_report")
    assert (report["summary"], report["synthesised"], report["tier"]) == ("All done.", False, 0)
    assert outcome.usage.input_tokens == 600 and outcome.usage.output_tokens == 60
    assert {request.dialect for request in either.model.requests()} == {either.dialect}
    assert "please edit" in str(either.model.requests()[-1].body)
    for request in either.model.requests():
        offered = [tool.get("function") or tool for tool in request.body["tools"]]
        schemas = {tool["name"]: tool.get("parameters") or tool.get("input_schema") for tool in offered}
        assert set(schemas) == {"shell", "read_file", "write_file", "edit_file", "list_files", "report"}
        assert all(schema["additionalProperties"] is False for schema in schemas.values())


BAD = {
    "missing": (call("write_file", path="x"), "the arguments must have content"),
    "more than there is": (call("write_file", path="x", content="y", mode="z"), "must not have mode"),
    "another type": (call("write_file", path="x", content=["y"]), "content must be of type string, not array"),
    "truth for a number": (call("shell", command="touch x", timeout=True), "timeout must be of type integer"),
    "out of bounds": (call("shell", command="touch x", timeout=99999), "timeout must be from 1 to 600, not 99999"),
    "empty": (call("edit_file", path="a.txt", old="", new="x"), "old must not be empty"),
    "an unknown tool": (call("browse", url="http://h"), "there is no tool 'browse'; there are shell, read_file"),
    "a list of other things": (
        call("report", summary="s", files_changed=[1], commands_verified=[]),
        "files_changed[0] must be of type string, not integer",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_arguments_that_do_not_fit_are_told_why_and_nothing_is_done(rig: Rig, bad: str) -> None:
    step, why = BAD[bad]
    _, outcome = rig.run([step, REPORT])
    assert outcome.kind == "success"
    first = rig.data("tool_result")[0]
    assert not first["ok"] and why in first["output"]
    assert not (rig.workspace / "x").exists() and (rig.workspace / "a.txt").read_text() == "one\ntwo\ntwo\n"
    assert why in str(rig.model.requests()[1].body), "the model is told"


UNABLE = {
    "not there": (call("edit_file", path="a.txt", old="three", new="x"), "is not in it"),
    "twice": (call("edit_file", path="a.txt", old="two", new="x"), "stands in it 2 times"),
    "no file": (call("read_file", path="nothing"), "no such file"),
    "a folder": (call("read_file", path="."), "is no regular file"),
    "a pipe": (call("read_file", path="pipe"), "is no regular file"),
    "no text": (call("read_file", path="bytes"), "is not text"),
    "no path": (call("write_file", path="a\0b", content=""), "ValueError"),
    "a file in the way": (call("write_file", path="a.txt/b", content=""), "Error"),
    "a failing command": ({"shell": "echo said; exit 3"}, "said\n[exit status 3]"),
}


@pytest.mark.parametrize("what", UNABLE)
def test_what_a_tool_cannot_do_is_the_models_to_read(rig: Rig, what: str) -> None:
    os.mkfifo(rig.workspace / "pipe")
    (rig.workspace / "bytes").write_bytes(b"\xff\xfe")
    step, why = UNABLE[what]
    _, outcome = rig.run([step, REPORT])
    assert outcome.kind == "success"
    first = rig.data("tool_result")[0]
    assert not first["ok"] and why in first["output"]
    assert (rig.workspace / "a.txt").read_text() == "one\ntwo\ntwo\n"


@pytest.fixture
def outside() -> Iterator[Path]:
    """A file that is not there, neither in the workspace nor in /tmp, where the policy lets agents write."""
    with tempfile.TemporaryDirectory(prefix="agentd-", dir="/var/tmp") as folder:
        yield Path(folder) / "outside"


async def test_the_policy_is_asked_before_a_command_and_a_write(rig: Rig, outside: Path) -> None:
    doors, rules = rig.folder / "doors", CommandRules(parse_allow_list("ls,cat"))
    rig.hook = (sys.executable, "-I", "-S", str(doors / "policy_hook.py"), str(doors / "policy.sock"))
    script = [
        {"shell": "touch denied"},
        call("write_file", path=str(outside), content="x"),
        call("edit_file", path=os.path.relpath(outside, rig.workspace), old="x", new="y"),
        {"shell": "ls"},
        call("read_file", path="a.txt"),
        REPORT,
    ]
    async with open_doors(doors, Reach(rules=rules), lambda decision: None):
        events, outcome = await asyncio.to_thread(rig.run, script)
    assert outcome.kind == "success"
    assert [event["denied"] for event in rig.data("tool_result")] == [True, True, True, False, False, False]
    assert sum(isinstance(event, Denied) for event in events) == 3
    assert not (rig.workspace / "denied").exists() and not outside.exists()
    rig.hook = ()
    rig.run(script)
    assert (rig.workspace / "denied").exists() and outside.exists(), "it was the policy"


@pytest.mark.parametrize("hook", [("/no/such",), ("false",), ("echo", "not json"), ("echo", '{"a": 1}')])
def test_a_policy_that_gives_no_answer_refuses(rig: Rig, hook: tuple[str, ...]) -> None:
    rig.hook = hook
    rig.run([{"shell": "touch denied"}, REPORT])
    assert rig.data("tool_result")[0]["denied"] and not (rig.workspace / "denied").exists()


def test_a_rate_limit_that_passes_is_waited_for(either: Rig) -> None:
    events, outcome = either.run([{"status": 429, "retry_after": 0.1}, REPORT])
    assert outcome.kind == "success"
    assert either.requests() == [429, 200]
    assert Retry(1, 429, 0.1) in events


def test_a_long_wait_is_left_to_the_supervisor(either: Rig) -> None:
    _, outcome = either.run([{"status": 429, "retry_after": 3600}, REPORT])
    assert (outcome.kind, outcome.retryable, outcome.retry_after_seconds) == ("quota", True, 3600)
    assert either.requests() == [429] and either.exit_status == 1


def test_a_refused_key_is_an_error_at_once(either: Rig) -> None:
    _, outcome = either.run([{"status": 401, "times": -1}])
    assert (outcome.kind, outcome.retryable) == ("auth_error", False)
    assert either.requests() == [401] and either.types() == ["error"]


@pytest.mark.parametrize("fault", [{"garbage": True}, {"disconnect": True}, {"disconnect": "stream"}, {"status": 500}])
def test_a_fault_is_passed_over_and_one_that_stays_is_an_error(either: Rig, fault: dict[str, Any]) -> None:
    _, outcome = either.run([{**fault, "retry_after": 0}, REPORT])
    assert outcome.kind == "success" and len(either.requests()) == 2
    _, outcome = either.run([{**fault, "retry_after": 0, "times": -1}])
    assert (outcome.kind, outcome.retryable) == ("api_error", True)
    assert len(either.requests()) == 2 + 4 and either.types() == ["error"]


def test_a_loop_without_end_ends_at_its_cap(either: Rig) -> None:
    _, outcome = either.run([{"shell": "ls", "times": -1}], max_steps=5)
    assert outcome.kind == "limit" and "5 model calls" in outcome.message
    assert either.types() == [*["tool_call", "tool_result"] * 5, "error"]


def test_verified_work_counts_at_the_cap_and_unverified_work_does_not(rig: Rig) -> None:
    _, outcome = rig.run([{"shell": "echo x > b.txt", "times": -1}], max_steps=3)
    assert outcome.kind == "limit"
    _, outcome = rig.run(
        [{"shell": "echo y > b.txt"}, {"shell": "make --version; test -f b.txt", "times": -1}], max_steps=3
    )
    assert outcome.kind == "success"
    [report] = rig.data("final_report")
    assert (report["synthesised"], report["tier"]) == (True, 1) and "steps was used up" in report["summary"]


EDIT = {"write": {"path": "b.txt", "content": "bee"}}
GOOD, BAD_TEST = {"shell": "test -f b.txt"}, {"shell": "test -f nothing"}
END = {"text": "I think it is done."}
COMMIT = "git -c user.name=a -c user.email=a@b commit -qm own"
TIERS = {
    "verified": ([EDIT, GOOD, END], 1, ("test -f b.txt",)),
    "verified twice": (
        [EDIT, GOOD, {"shell": "echo no proof"}, {"shell": "test -s b.txt"}, END],
        1,
        ("test -f b.txt", "test -s b.txt"),
    ),
    "changed after the proof": ([EDIT, GOOD, {"write": {"path": "b.txt", "content": "boo"}}, END], 2, ()),
    "changed by a command after the proof": ([EDIT, GOOD, {"shell": "echo more >> b.txt"}, END], 2, ()),
    "changed and proven by one command": (
        [{"shell": "echo x > b.txt; test -f b.txt"}, END],
        1,
        ("echo x > b.txt; test -f b.txt",),
    ),
    "a test that failed": ([EDIT, BAD_TEST, END], 2, ()),
    "committed": ([{"shell": f"echo x > b.txt; git add .; {COMMIT}"}, GOOD, END], 1, ("test -f b.txt",)),
    "what only looks": ([EDIT, {"shell": "ls; cat b.txt"}, END], 2, ()),
    "a proof before any change": ([{"shell": "test -f a.txt"}, EDIT, END], 2, ()),
}


@pytest.mark.parametrize("tier", TIERS)
def test_a_report_that_never_comes_is_made_from_what_was_proven(rig: Rig, tier: str) -> None:
    script, number, commands = TIERS[tier]
    _, outcome = rig.run(script)
    assert outcome.kind == "success"
    [report] = rig.data("final_report")
    assert (report["synthesised"], report["tier"], tuple(report["commands_verified"])) == (True, number, commands)
    assert report["files_changed"] == ["b.txt"]
    assert ("no command verified it" in report["summary"]) == (number == 2)
    assert "I think it is done." in report["summary"]
    assert rig.types()[-2:] == ["thought", "final_report"] and "No report came" in rig.data("thought")[-1]["text"]


def test_the_made_report_has_the_difference(rig: Rig) -> None:
    rig.run([call("edit_file", path="a.txt", old="one", new="eins"), END])
    assert "-one\n+eins" in rig.data("final_report")[0]["diff"]


@pytest.mark.parametrize("script", [[END], [GOOD, END], [{"shell": "test -f a.txt"}, {"shell": "ls"}, END]])
def test_nothing_done_and_nothing_reported_is_an_honest_error(rig: Rig, script: list[dict[str, Any]]) -> None:
    _, outcome = rig.run(script)
    assert outcome.kind == "failed" and "has changed nothing: I think it is done." in outcome.message
    assert rig.types()[-1] == "error" and rig.exit_status == 1


def test_a_session_is_resumed_with_what_was_said_before(either: Rig) -> None:
    _, first = either.run([{"shell": "ls", "say": "The word is heron."}, REPORT])
    either.dialect = next(other for other in DIALECTS if other != either.dialect)  # a session is in no service's words
    _, second = either.run([REPORT], prompt="go on", resume=first.session_id)
    assert (second.kind, second.session_id) == ("success", first.session_id)
    said = str(either.model.requests()[-1].body)
    assert "The word is heron." in said and "please edit" in said and "go on" in said


def test_a_session_that_was_killed_in_a_command_is_resumed(either: Rig) -> None:
    _, first = either.run([{"shell": "kill -9 $PPID"}])
    assert first.kind == "failed" and first.session_id
    _, second = either.run([REPORT], prompt="go on", resume=first.session_id)
    assert second.kind == "success"
    assert "interrupted: it may have been done or not" in str(either.model.requests()[-1].body)


def test_a_session_that_is_lost_begins_anew(rig: Rig) -> None:
    _, outcome = rig.run([REPORT], resume="0123456789abcdef")
    assert (outcome.kind, outcome.session_id) == ("success", "0123456789abcdef")
    _, outcome = rig.run([REPORT], resume="../../etc")
    assert outcome.kind == "failed" and rig.exit_status == 2


def test_a_session_that_was_bent_ends_in_one_error(rig: Rig) -> None:
    _, first = rig.run([REPORT])
    [session] = (rig.folder / "home" / ".agentd-builtin").glob("*.json")
    known = json.loads(session.read_text())
    known["entries"][0]["text"] = 5
    session.write_text(json.dumps(known))
    _, second = rig.run([REPORT], resume=first.session_id)
    assert second.kind == "failed" and rig.types() == ["error"]


HOSTILE = {
    "modules": {f"{name}.py": "{trap}" for name in ("json", "asyncio", "sitecustomize", "usercustomize", "argparse")},
    "settings": {
        ".claude/settings.json": "{}",
        ".mcp.json": "{}",
        ".envrc": "touch {fired}",
        "AGENTS.md": "touch {fired}",
    },
    "python": {
        "pyvenv.cfg": "home = /nowhere",
        "python3": "{trap}",
        "conftest.py": "{trap}",
        "Makefile": "all:\n\ttouch {fired}\n",
    },
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_repository_does_nothing_by_itself(rig: Rig, kind: str) -> None:
    fired = rig.folder / "fired"
    for name, text in HOSTILE[kind].items():
        (rig.workspace / name).parent.mkdir(exist_ok=True)
        trap = f"open({str(fired)!r}, 'w')"
        (rig.workspace / name).write_text(text.replace("{trap}", trap).replace("{fired}", str(fired)))
    for setting in ("core.fsmonitor", "core.hooksPath", "diff.external", "core.pager"):
        subprocess.run(["git", "config", setting, f"touch {fired} #"], cwd=rig.workspace, check=True)
    script = [call("edit_file", path="a.txt", old="one", new="x"), {"shell": "ls"}, END]
    _, outcome = rig.run(script, env={"PYTHONPATH": "."})
    assert outcome.kind == "success" and "+x" in rig.data("final_report")[0]["diff"]
    assert not fired.exists()
    subprocess.run(["git", "status"], cwd=rig.workspace, capture_output=True)
    assert fired.exists(), "the trap itself does not work here"


async def test_a_command_is_bounded_in_time_output_and_what_it_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = await run("echo begun; sleep 60 & sleep 60", tmp_path, 0.5)
    assert late.is_late and late.output == "begun\n"
    listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True).stdout
    assert "sleep 60" not in listed.split("\n")
    left = await run("sleep 5 & echo done", tmp_path, 4)
    assert not left.is_late and left.output == "done\n"
    long = await run("yes | head -c 200000; echo; echo end", tmp_path, 20)
    assert len(long.output) < 31_000 and "bytes were left out" in long.output and long.output.endswith("end\n")
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "canary")
    assert "canary" not in (await run("env", tmp_path, 20)).output


def test_old_results_are_shortened_and_new_ones_are_not() -> None:
    entries = [Entry("user", "task"), *(Entry("tool", "x" * 10_000, (), str(at)) for at in range(10))]
    assert shortened(entries, 30_000) == tuple(entries)
    found = shortened(entries, 20_000)
    sizes = [len(entry.text) for entry in found]
    assert sum(sizes) <= 80_000 and sizes[-4:] == [10_000] * 4 and max(sizes[1:3]) < 500
    assert "9600 characters of this old result were taken out" in found[1].text
    assert [len(entry.text) for entry in shortened(entries, 1)][-4:] == [10_000] * 4


def test_a_long_conversation_is_sent_shortened(rig: Rig) -> None:
    _, outcome = rig.run([{"shell": "yes xxxxxxxxxxxxxxxxxxxxxxxx | head -c 29000", "times": 20}, REPORT])
    assert outcome.kind == "success"
    assert "of this old result were taken out" in str(rig.model.requests()[-1].body)
    assert len(json.dumps(rig.model.requests()[-1].body)) < 700_000


@pytest.mark.parametrize(
    ("model", "env", "expected"),
    [
        ("anthropic:m", {}, ["messages", "m"]),
        ("openai:ft:m", {}, ["chat", "ft:m"]),
        ("m", {"OPENAI_API_KEY": "k"}, ["chat", "m"]),
        ("llama:7b", {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}, ["messages", "llama:7b"]),
        ("m", {}, "neither ANTHROPIC_"),
        ("m", {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}, "both services are set up"),
        ("", {"OPENAI_API_KEY": "k"}, "names no model"),
    ],
)
def test_the_service_is_known_or_asked_for(launch_of: Any, model: str, env: dict[str, str], expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(ConfigurationError, match=f"'p'.*{expected}"):
            launch_of("builtin", env, model=model)
    else:
        argv = launch_of("builtin", env, model=model, max_steps=7).argv
        assert [argv[argv.index(option) + 1] for option in ("--dialect", "--model")] == expected
        assert argv[argv.index("--max-steps") + 1] == "7"


def test_a_command_of_its_own_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="comes with agentd"):
        adapter_of(Profile(name="p", adapter="builtin")).probe("agent", {})


def test_lines_of_another_kind_are_kept_as_they_are() -> None:
    parser = adapter_of(Profile(name="p", adapter="builtin")).parser()
    for line in (
        b"noise",
        b"[]",
        b"{}",
        b'{"type": "thought"}',
        b'{"type": "tool_call", "data": {"id": 1}}',
        b'{"type": "x"}',
    ):
        assert parser.feed(line) == [Raw(line.decode())]
    assert parser.feed(b'{"type": "final_report", "data": {"summary": "s"}}') == [Final("s")]
    assert parser.close(1, "").kind == "success"


def test_the_program_needs_nothing_but_python() -> None:
    """It runs where no package is installed, agentd neither."""
    names = {name for dialect in BACKENDS for name in (dialect,)}
    found = adapter_of(Profile(name="p", adapter="builtin")).probe(None, {})
    done = subprocess.run(
        [str(found.path), "-I", "-S", "-B", str(found.needs[0]), "--help"], capture_output=True, text=True, env={}
    )
    assert done.returncode == 0 and all(name in done.stdout for name in names), done.stderr
