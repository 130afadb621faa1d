"""The built-in agent as its adapter starts it, against the practice model: what it does, and what it does not."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from agentd.agents import AgentEvent, LaunchSpec, Outcome, adapter_of, executable_of
from agentd.agents.builtin.program.backends import BACKENDS
from agentd.agents.builtin.program.conversation import Entry, shortened
from agentd.agents.builtin.program.events import Event, Failure, FinalReport, ToolResult
from agentd.agents.builtin.program.exchange import Endpoint
from agentd.agents.builtin.program.loop import Work, run_agent
from agentd.agents.builtin.program.shell import run
from agentd.agents.builtin.sse import events_handler
from agentd.agents.events import Denied, Final, Raw, Retry, ToolCall
from agentd.agents.events import ToolResult as Result
from agentd.errors import ConfigurationError
from agentd.model import Profile
from agentd.policy.allowlist import CommandRules, parse_allow_list
from agentd.practice.model import ScriptedModel
from agentd.sandbox.doors import Reach, open_doors

DIALECTS = {"messages": "anthropic:practice", "chat": "openai:practice"}
PATHS = {"messages": "messages", "chat": "chat/completions"}
LIMIT_SECONDS = 60.0
PERSON = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def call(name: str, **given: Any) -> dict[str, Any]:
    """A step in which the model uses that very tool."""
    return {"call": {"name": name, "input": given}}


REPORT = call("report", summary="All done.", files_changed=["a.txt"], commands_verified=["true"])


@dataclass
class Rig:
    """A workspace, a home and a model."""

    folder: Path
    model: ScriptedModel
    dialect: str = "messages"
    hook: tuple[str, ...] = ()
    lines: tuple[Mapping[str, Any], ...] = ()
    """what the last run printed"""
    exit_status: int = 0

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def run(
        self, script: list[dict[str, Any]], prompt: str = "please edit", resume: str | None = None, **profile: Any
    ) -> tuple[list[AgentEvent], Outcome]:
        """Probe, launch and parse; `script` is what the model does."""
        name = f"run{len(self.model.requests())}"
        self.model.script(name, script)
        base = self.model.base_url(name, name)
        environ = {
            **os.environ,
            "ANTHROPIC_BASE_URL": base,
            "ANTHROPIC_API_KEY": "key-of-the-run",
            "OPENAI_BASE_URL": f"{base}/v1",
            "OPENAI_API_KEY": "key-of-the-run",
        }
        chosen = Profile(name="p", adapter="builtin", **({"model": DIALECTS[self.dialect]} | profile))
        adapter = adapter_of(chosen)
        found = adapter.probe(executable_of(chosen), environ)
        spec = LaunchSpec(
            prompt=prompt,
            workspace=self.workspace,
            home=self.folder / "home",
            profile=chosen,
            base_env=environ,
            limit_seconds=LIMIT_SECONDS,
            prompt_file=self.folder / "prompt.md",
            resume=resume,
            found=found,
            hook=self.hook,
        )
        launch = adapter.launch(spec)
        assert not launch.files
        done = subprocess.run(
            launch.argv,
            env=launch.env,
            cwd=self.workspace,
            input=launch.stdin,
            capture_output=True,
            timeout=LIMIT_SECONDS,
        )
        parser = adapter.parser()
        events = [event for line in done.stdout.splitlines() for event in parser.feed(line)]
        assert not any(isinstance(event, Raw) for event in events), done.stdout
        self.lines = tuple(json.loads(line) for line in done.stdout.splitlines())
        self.exit_status = done.returncode
        return events, parser.close(done.returncode, done.stderr.decode(errors="replace")[-4000:])

    def data(self, kind: str) -> list[Mapping[str, Any]]:
        """The data of every line of a type."""
        return [line["data"] for line in self.lines if line["type"] == kind]

    def types(self) -> list[str]:
        """The types of the run's events."""
        return [line["type"] for line in self.lines if line["type"] not in ("started", "usage", "retry")]

    def requests(self) -> list[int]:
        """Statuses of what was asked so far."""
        return [request.status for request in self.model.requests()]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with ScriptedModel() as model:
        made = Rig(tmp_path, model)
        (tmp_path / "home").mkdir()
        made.workspace.mkdir()
        (made.workspace / "a.txt").write_text("one\ntwo\ntwo\n")
        script = "git init -q && git add . && git commit -qm start"
        subprocess.run(["sh", "-c", script], cwd=made.workspace, env={**os.environ, **PERSON}, check=True)
        yield made


@pytest.fixture(params=DIALECTS)
def either(request: pytest.FixtureRequest, rig: Rig) -> Rig:
    """In each dialect."""
    rig.dialect = request.param
    return rig


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


async def test_the_policy_is_asked_before_a_command_and_a_write(rig: Rig) -> None:
    doors, rules = rig.folder / "doors", CommandRules(parse_allow_list("ls,cat"))
    rig.hook = (sys.executable, "-I", "-S", str(doors / "policy_hook.py"), str(doors / "policy.sock"))
    script = [
        {"shell": "touch denied"},
        call("write_file", path=str(rig.folder / "outside"), content="x"),
        call("edit_file", path="../outside", old="x", new="y"),
        {"shell": "ls"},
        call("read_file", path="a.txt"),
        REPORT,
    ]
    async with open_doors(doors, Reach(rules=rules), lambda decision: None):
        events, outcome = await asyncio.to_thread(rig.run, script)
    assert outcome.kind == "success"
    assert [event["denied"] for event in rig.data("tool_result")] == [True, True, True, False, False, False]
    assert sum(isinstance(event, Denied) for event in events) == 3
    assert not (rig.workspace / "denied").exists() and not (rig.folder / "outside").exists()
    rig.hook = ()
    rig.run(script)
    assert (rig.workspace / "denied").exists() and (rig.folder / "outside").exists(), "it was the policy"


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


@asynccontextmanager
async def service(*answers: web.Response) -> AsyncIterator[tuple[str, list[str]]]:
    """A model's service that gives these answers, the last one for ever; its address and what it was asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        given = answers[min(len(asked), len(answers)) - 1]
        return web.Response(body=given.body, status=given.status, headers=given.headers)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def events_of(folder: Path, base: str, dialect: str = "chat") -> list[Event]:
    work = Work("please", folder, Endpoint(base, "key", "practice"), dialect)
    return [event async for event in run_agent(work)]


@pytest.mark.parametrize("status", [429, 500])
async def test_a_service_that_says_so_is_not_asked_again(rig: Rig, status: int) -> None:
    refusal = web.Response(status=status, headers={"x-should-retry": "false", "retry-after": "0"}, text="no")
    async with service(refusal) as (base, asked):
        [event] = await events_of(rig.workspace, base)
    assert isinstance(event, Failure) and event.kind == ("quota" if status == 429 else "api_error")
    assert not event.retryable and len(asked) == 1


@pytest.mark.parametrize("status", [302, 303, 307])
async def test_a_redirect_takes_the_key_nowhere(rig: Rig, status: int) -> None:
    async with service(web.Response(text="{}")) as (other, heard):
        moved = web.Response(status=status, headers={"location": f"{other}/elsewhere"})
        async with service(moved) as (base, _):
            [event] = await events_of(rig.workspace, base)
    assert isinstance(event, Failure) and str(status) in event.message
    assert heard == []


def chat(*calls: tuple[str, str], text: str | None = None, finish: str = "stop") -> web.Response:
    listed = [
        {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": raw}}
        for at, (name, raw) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": text, "tool_calls": listed}
    return web.json_response({"choices": [{"message": message, "finish_reason": finish}]})


async def test_arguments_that_are_no_json_and_an_answer_that_was_cut(rig: Rig) -> None:
    report = json.dumps({"summary": "s", "files_changed": [], "commands_verified": []})
    answers = (
        chat(("shell", '{"command": "touch x"'), ("shell", "[1]"), ("shell", '{"command": "touch both"}')),
        chat(text="And so", finish="length"),
        chat(("report", report)),
    )
    async with service(*answers) as (base, asked):
        events = await events_of(rig.workspace, base)
    results = [event for event in events if isinstance(event, ToolResult)]
    assert "are no JSON" in results[0].output and "of type object, not array" in results[1].output and results[2].ok
    assert not (rig.workspace / "x").exists() and (rig.workspace / "both").exists()
    assert len(asked) == 3 and isinstance(events[-1], FinalReport) and not events[-1].synthesised


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "answer", ["[]", "{}", "null", '{"choices": []}', '{"content": 1}', '{"choices": [{"message": 1}]}']
)
async def test_what_is_no_answer_is_one_error(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, dialect: str, answer: str
) -> None:
    monkeypatch.setattr("agentd.agents.builtin.program.exchange.FIRST_WAIT_SECONDS", 0.0)
    async with service(web.Response(text=answer)) as (base, asked):
        [event] = await events_of(rig.workspace, base, dialect)
    assert isinstance(event, Failure) and (event.kind, event.retryable) == ("api_error", True)
    assert len(asked) == 4


async def streamed(base: str) -> tuple[str, list[tuple[str, Any]]]:
    """Content type and events of a stream over HTTP."""
    async with ClientSession() as session, session.get(base) as response:
        text = (await response.read()).decode()
    frames = [frame.split("\n") for frame in text.removesuffix("\n\n").split("\n\n")]
    assert all(kind.startswith("event: ") and data.startswith("data: ") for kind, data in frames)
    told = [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in frames]
    return response.headers["content-type"], told


@asynccontextmanager
async def served(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_the_stream_goes_over_http_as_server_sent_events(rig: Rig) -> None:
    rig.model.script("s", [{"shell": "echo one; echo two", "say": "a\nb"}, REPORT])
    work = Work("please", rig.workspace, Endpoint(rig.model.base_url("s", "s"), "k", "practice"), "messages")
    async with served(events_handler(lambda request: run_agent(work))) as base:
        kind, told = await streamed(base)
    assert kind == "text/event-stream"
    assert [name for name, _ in told] == ["thought", *["tool_call", "tool_result"] * 2, "final_report"]
    assert told[0][1] == {"text": "a\nb"} and told[2][1]["output"] == "one\ntwo\n[exit status 0]"


async def test_a_stream_that_breaks_ends_with_an_error_and_one_that_nobody_hears_is_ended(rig: Rig) -> None:
    async def broken(request: web.Request) -> AsyncIterator[Event]:
        yield ToolResult("1", True, "x")
        raise RuntimeError("broken")

    async with served(events_handler(broken)) as base:
        _, told = await streamed(base)
    assert [name for name, _ in told] == ["tool_result", "error"] and "broken" in told[1][1]["message"]

    ended = asyncio.Event()

    async def endless(request: web.Request) -> AsyncIterator[Event]:
        try:
            while True:
                yield ToolResult("1", True, "x" * 100_000)
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with served(events_handler(endless)) as base, ClientSession() as session:
        async with session.get(base) as response:
            await response.content.read(10)
        await session.close()
        await asyncio.wait_for(ended.wait(), 20)


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
