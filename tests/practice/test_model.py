"""The scripted model over plain HTTP, in every dialect."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected
from typing import Any

import pytest

from agentd.practice.model import PER_PROMPT, ScriptedModel

# Without this, HTTP_PROXY of whoever runs the tests would catch requests to loopback.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}, "why": {"type": "string"}}}
SHELL = SCHEMA | {"required": ["command", "why"]}
OFFERED: dict[str, list[dict[str, Any]]] = {
    "v1/chat/completions": [{"type": "function", "function": {"name": "bash", "parameters": SHELL}}],
    "v1/responses": [{"type": "function", "name": "exec_command", "parameters": SHELL}],
    "v1/messages": [{"name": "Bash", "input_schema": SHELL}],
}
DIALECTS = list(OFFERED)


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as running:
        yield running


def request_body(dialect: str, prompt: str = "fix it", **more: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": prompt}]
    history = {"input": said} if dialect.endswith("responses") else {"messages": said}
    return {"model": "m", "tools": OFFERED[dialect], **history, **more}


def post(base: str, dialect: str, body: dict[str, Any], timeout: float = 5) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(f"{base}/{dialect}", json.dumps(body).encode())
    try:
        with DIRECT.open(request, timeout=timeout) as answer:
            return answer.status, lower(answer.headers), answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, lower(error.headers), error.read().decode()


def lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def call_of(dialect: str, answer: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if dialect.endswith("completions"):
        function = answer["choices"][0]["message"]["tool_calls"][0]["function"]
        return function["name"], json.loads(function["arguments"])
    if dialect.endswith("responses"):
        item = next(item for item in answer["output"] if item["type"] == "function_call")
        return item["name"], json.loads(item["arguments"])
    block = next(block for block in answer["content"] if block["type"] == "tool_use")
    return block["name"], block["input"]


def text_of(dialect: str, answer: dict[str, Any]) -> str:
    if dialect.endswith("completions"):
        return str(answer["choices"][0]["message"]["content"])
    if dialect.endswith("responses"):
        return str(answer["output"][-1]["content"][0]["text"])
    return str(answer["content"][-1]["text"])


def events_of(stream: str) -> list[dict[str, Any]]:
    data = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in data if line != "[DONE]"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_script_is_followed_with_the_agents_own_tool_and_its_required_fields(
    model: ScriptedModel, dialect: str
) -> None:
    model.script("edit", [{"shell": "ls", "say": "Looking."}, {"text": "all done"}])
    base = model.base_url("r1", "edit")
    first, second = (json.loads(post(base, dialect, request_body(dialect))[2]) for _ in range(2))
    name, arguments = call_of(dialect, first)
    assert name.lower() in ("bash", "exec_command")
    assert arguments == {"command": "ls", "why": "practice"}
    assert text_of(dialect, second) == "all done"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_script_that_has_run_out_ends_the_turn(model: ScriptedModel, dialect: str) -> None:
    model.script("empty", [])
    answer = json.loads(post(model.base_url("r1", "empty"), dialect, request_body(dialect))[2])
    assert text_of(dialect, answer) == "Done."


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_carries_the_call_and_the_usage(model: ScriptedModel, dialect: str) -> None:
    usage = {"input": 1234, "output": 56, "cached": 34}
    model.script("edit", [{"shell": "ls", "thinking": "hm", "usage": usage}])
    body = request_body(dialect, stream=True, stream_options={"include_usage": True})
    status, headers, stream = post(model.base_url("r1", "edit"), dialect, body)
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    events = events_of(stream)
    if dialect.endswith("completions"):
        calls = [
            call for event in events for choice in event["choices"] for call in choice["delta"].get("tool_calls", [])
        ]
        assert json.loads(calls[0]["function"]["arguments"])["command"] == "ls"
        assert (events[-1]["usage"]["prompt_tokens"], events[-1]["usage"]["completion_tokens"]) == (1234, 56)
        assert stream.rstrip().endswith("[DONE]")
    elif dialect.endswith("responses"):
        assert call_of(dialect, events[-1]["response"])[1]["command"] == "ls"
        assert events[-1]["response"]["usage"]["input_tokens_details"] == {"cached_tokens": 34}
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
    else:
        delta = next(event["delta"] for event in events if event.get("delta", {}).get("type") == "input_json_delta")
        assert json.loads(delta["partial_json"])["command"] == "ls"
        assert events[0]["message"]["usage"]["input_tokens"] == 1200
        assert events[-2]["usage"]["output_tokens"] == 56


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_scripted_status_comes_in_the_dialects_shape_and_times_repeats_it(model: ScriptedModel, dialect: str) -> None:
    model.script("busy", [{"status": 429, "retry_after": 1.5, "times": 2}, {"text": "ok"}])
    base = model.base_url("r1", "busy")
    answers = [post(base, dialect, request_body(dialect)) for _ in range(3)]
    assert [status for status, _, _ in answers] == [429, 429, 200]
    assert answers[0][1]["retry-after"] == "1.5"
    assert "429" in json.loads(answers[0][2])["error"]["message"]


@pytest.mark.parametrize(("status", "words"), [(401, "incorrect API key"), (500, "internal server error")])
def test_an_error_says_what_its_status_means(model: ScriptedModel, status: int, words: str) -> None:
    model.script("bad", [{"status": status}])
    _, _, text = post(model.base_url("r1", "bad"), DIALECTS[0], request_body(DIALECTS[0]))
    assert words in json.loads(text)["error"]["message"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_request_without_tools_does_not_advance_the_script(model: ScriptedModel, dialect: str) -> None:
    model.script("one", [{"text": "mine"}])
    base = model.base_url("r1", "one")
    post(base, dialect, request_body(dialect) | {"tools": []})
    assert text_of(dialect, json.loads(post(base, dialect, request_body(dialect))[2])) == "mine"
    assert [request.step for request in model.requests("r1")] == [None, 0]


def test_write_uses_the_write_tool_with_the_directory_the_agent_named(model: ScriptedModel) -> None:
    schema = {"properties": {"file_path": {"type": "string"}, "content": {"type": "string"}}}
    tools = [*OFFERED["v1/messages"], {"name": "Write", "input_schema": schema}]
    model.script("write", [{"write": {"path": "a/b.txt", "content": "it's ${CWD}"}}])
    body = request_body("v1/messages", system="Primary working directory: /home/w\n") | {"tools": tools}
    answer = json.loads(post(model.base_url("r1", "write"), "v1/messages", body)[2])
    assert call_of("v1/messages", answer) == ("Write", {"file_path": "/home/w/a/b.txt", "content": "it's /home/w"})


def test_write_goes_through_the_shell_where_there_is_no_write_tool(model: ScriptedModel) -> None:
    model.script("write", [{"write": {"path": "a/b.txt", "content": "it's"}}])
    answer = json.loads(post(model.base_url("r1", "write"), "v1/responses", request_body("v1/responses"))[2])
    assert call_of("v1/responses", answer)[1]["command"] == "mkdir -p a && printf %s 'it'\"'\"'s' > a/b.txt"


def test_a_step_that_needs_a_missing_tool_is_an_error_that_names_it(model: ScriptedModel) -> None:
    model.script("edit", [{"shell": "ls"}])
    body = request_body("v1/messages") | {"tools": [{"name": "Read", "input_schema": {}}]}
    status, _, text = post(model.base_url("r1", "edit"), "v1/messages", body)
    assert status == 400
    assert "Read" in text


@pytest.mark.parametrize("step", [{"disconnect": True}, {"disconnect": "stream"}])
def test_disconnect_drops_the_connection(model: ScriptedModel, step: dict[str, Any]) -> None:
    model.script("cut", [step])
    with pytest.raises((RemoteDisconnected, ConnectionResetError, IncompleteRead, BadStatusLine)):
        post(model.base_url("r1", "cut"), "v1/messages", request_body("v1/messages", stream=True))


def test_garbage_is_a_200_that_nobody_can_parse(model: ScriptedModel) -> None:
    model.script("noise", [{"garbage": True}])
    status, _, text = post(model.base_url("r1", "noise"), "v1/responses", request_body("v1/responses"))
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        events_of(text)


@pytest.mark.parametrize("step", [{"hang": True}, {"hang": "stream"}])
def test_hang_withholds_the_answer_and_stopping_the_server_is_still_quick(step: dict[str, Any]) -> None:
    with ScriptedModel() as model:
        model.script("stuck", [step])
        with pytest.raises(TimeoutError):
            post(model.base_url("r1", "stuck"), "v1/messages", request_body("v1/messages", stream=True), timeout=0.3)
        base = model.base_url("r2", "stuck")
        waiting = threading.Thread(target=lambda: _ignore_the_end(base))
        waiting.start()
        while not model.requests("r2"):
            time.sleep(0.01)
        assert model.requests("r2")[0].status == 0
    waiting.join(3)
    assert not waiting.is_alive()


def _ignore_the_end(base: str) -> None:
    with pytest.raises((OSError, RemoteDisconnected, IncompleteRead)):
        post(base, "v1/messages", request_body("v1/messages", stream=True), timeout=30)


def test_runs_count_their_steps_apart(model: ScriptedModel) -> None:
    model.script("two", [{"text": "one"}, {"text": "two"}])
    said = [
        text_of(
            "v1/messages", json.loads(post(model.base_url(run, "two"), "v1/messages", request_body("v1/messages"))[2])
        )
        for run in ("a", "b", "a")
    ]
    assert said == ["one", "one", "two"]


def test_one_address_serves_many_prompts_each_as_a_run_of_its_own(model: ScriptedModel) -> None:
    model.script("default", [{"text": "one"}, {"text": "two"}])
    model.script("special", [{"text": "chosen"}])
    model.route("P0-02", "special")
    base = model.base_url(PER_PROMPT, "default")

    def say(prompt: str) -> str:
        return text_of("v1/messages", json.loads(post(base, "v1/messages", request_body("v1/messages", prompt))[2]))

    assert [say("do P0-01"), say("do P0-03"), say("do P0-01"), say("do P0-02")] == ["one", "one", "two", "chosen"]
    assert len(model.requests(PER_PROMPT)) == 4


def test_the_full_request_and_its_headers_are_recorded(model: ScriptedModel) -> None:
    model.script("one", [{"text": "x"}])
    body = request_body("v1/messages", prompt="p" * 300_000)
    post(model.base_url("r1", "one"), "v1/messages", body)
    recorded = model.requests("r1")[0]
    assert recorded.body == body
    assert (recorded.dialect, recorded.status, recorded.path) == ("messages", 200, "/r/r1/one/v1/messages")
    assert recorded.headers["content-type"]


@pytest.mark.parametrize(
    "step", [{}, {"shell": "a", "text": "b"}, {"text": "a", "tiems": 2}], ids=["none", "two", "misspelt"]
)
def test_a_step_that_cannot_be_understood_is_refused_by_number(step: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="step 2"):
        ScriptedModel().script("bad", [{"text": "fine"}, step])


def test_an_unknown_script_is_a_404_that_names_it(model: ScriptedModel) -> None:
    status, _, text = post(model.base_url("r1", "nope"), "v1/messages", request_body("v1/messages"))
    assert status == 404
    assert "nope" in text
