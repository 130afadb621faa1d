"""The JSON API against its own description, and what it says when something is wrong."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agentd.git.runner import Author, git
from agentd.states import RunState
from agentd.store import holds, plans, runs
from agentd.store.connection import Store
from agentd.web.access import Access
from agentd.web.server import PAGES, make_app
from agentd.web.source import Source
from tests.web.conftest import CANARY, HOSTILE, Ask, add_run, add_story, plan_row


@pytest.fixture
def description(ask: Ask) -> dict[str, Any]:
    found: dict[str, Any] = ask("/api/v1/openapi.json").json()
    return found


@pytest.fixture
def story(filled: Store, source: Source) -> str:
    """The id of a run with everything."""
    run = add_run(filled, 7, RunState.running, title=HOSTILE)
    add_story(filled, run)
    plans.note_plan(filled, [plan_row(7), plan_row(8, dependencies=["issue-7"], title=HOSTILE)])
    folder = source.run_dir(run.run_id)
    (folder / "evidence").mkdir(parents=True)
    (folder / "evidence" / "manifest.json").write_text("{}")
    (folder / "verify-0.log").write_text(f"1 failed\n{CANARY}\n")
    source.log_of(run.run_id).parent.mkdir(parents=True)
    source.log_of(run.run_id).write_text(f"hello\n{CANARY}\n{HOSTILE}\x1b[2J\n")
    return run.run_id


def csrf(ask: Ask) -> dict[str, str]:
    return {"X-Agentd-CSRF": ask("/api/v1/session").json()["csrf"]}


def test_every_route_is_described_and_every_description_is_served(source: Source, description: dict[str, Any]) -> None:
    served = {
        (route.resource.canonical, route.method.lower())
        for route in make_app(source, Access()).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    shown = {(path, "get") for path in (*PAGES, "/static/{name}", "/login")} | {("/login", "post")}
    assert served - shown == {(path, method) for path, methods in description["paths"].items() for method in methods}


READ = [
    *("/healthz", "/api/v1/session", "/api/v1/state", "/api/v1/runs", "/api/v1/runs/{run_id}", "/api/v1/tasks"),
    *("/api/v1/tasks/{task_id}", "/api/v1/ledger", "/api/v1/doctor", "/api/v1/openapi.json", "/api/v1/{identifier}"),
]


@pytest.mark.parametrize("path", READ)
def test_every_json_answer_is_as_described(ask: Ask, description: dict[str, Any], story: str, path: str) -> None:
    for name in {"{identifier}": [story, "issue-7", "7"], "{task_id}": ["issue-7", "8"]}.get(
        path.split("/")[-1], [story]
    ):
        answer = ask(re.sub(r"\{.*\}", name, path))
        assert answer.status_code == 200, answer.text
        schema = description["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": description["components"]}
        problems = [
            f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(answer.json())
        ]
        assert problems == []


def test_the_overview_has_what_runs_what_waits_and_what_was_said_last(ask: Ask, filled: Store, story: str) -> None:
    add_run(filled, 9, RunState.merged, merged_at=filled.clock.now(), finished_at=filled.clock.now())
    state = ask("/api/v1/state").json()
    [run] = state["running"]
    assert (run["run_id"], run["last_step"]["name"]) == (story, "bash")
    assert [row["task_id"] for row in state["queue"]] == ["issue-7", "issue-8"]
    assert [row["task_id"] for row in state["recent"]] == ["issue-9"]
    assert state["throughput"][-1]["merged"] == 1 and len(state["throughput"]) == 14
    graph = ask("/api/v1/tasks").json()
    assert graph["edges"] == [["issue-7", "issue-8"]]


def test_a_run_has_its_steps_its_verdicts_and_its_evidence(ask: Ask, story: str) -> None:
    run = ask(f"/api/v1/runs/{story}").json()
    assert [step["kind"] for step in run["steps"]] == ["stage", "tool_call"]
    assert [event["type"] for event in run["events"]] == ["policy_decided", "agent_started"]
    assert run["verify"][0]["name"] == "verify-0" and run["may"] == ["cancel"] and run["has_evidence"]
    archive = ask(f"/api/v1/runs/{story}/evidence").content
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive))) as found:
        assert found.getnames() == [f"{story}/manifest.json"]


WRONG = {
    "no such run": ("GET", "/api/v1/runs/nothing", 404, "not_found"),
    "no such task": ("GET", "/api/v1/999", 404, "not_found"),
    "no difference yet": ("GET", "/api/v1/runs/{run}/diff", 404, "not_found"),
    "no such page": ("GET", "/api/v1/a/b/c", 404, "not_found"),
    "no such file": ("GET", "/static/..%2fserver.py", 404, "not_found"),
    "another method": ("DELETE", "/api/v1/state", 405, "method_not_allowed"),
    "a read of an order": ("GET", "/api/v1/runs/{run}/cancel", 405, "method_not_allowed"),
    "a body that is none": ("POST", "/api/v1/pause", 400, "bad_body"),
    "a run that is over": ("POST", "/api/v1/runs/{over}/cancel", 409, "refused"),
    "nothing to retry": ("POST", "/api/v1/runs/{run}/retry", 409, "refused"),
    "nobody to ask": ("POST", "/api/v1/refresh", 500, "failed"),
}


@pytest.mark.parametrize("what", WRONG)
def test_every_error_is_in_the_envelope(ask: Ask, filled: Store, story: str, what: str) -> None:
    method, path, status, code = WRONG[what]
    over = add_run(filled, 20, RunState.merged).run_id
    body = {"data": "[1]"} if code == "bad_body" else {}
    headers = csrf(ask) if method != "GET" else {}
    answer = ask(path.format(run=story, over=over), method, headers=headers, **body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert status != 405 or "GET" in answer.headers["Allow"] or "POST" in answer.headers["Allow"]


def slowly(*pieces: bytes) -> Iterator[bytes]:
    """A body that comes in pieces, with a moment between them."""
    for piece in pieces:
        yield piece
        time.sleep(0.1)


def test_orders_are_carried_out(ask: Ask, filled: Store, story: str) -> None:
    mark = csrf(ask)
    assert ask("/api/v1/pause", "POST", json={"reason": "lunch"}, headers=mark).status_code == 202
    assert holds.holds(filled)["pause"].observed == "paused by the operator: lunch"
    assert ask("/api/v1/resume", "POST", headers=mark).json() == {"done": "resumed"}
    assert ask("/api/v1/pause", "POST", data=slowly(b'{"reason": ', b'"tea"}'), headers=mark).status_code == 202
    assert holds.holds(filled)["pause"].observed == "paused by the operator: tea"
    assert ask("/api/v1/resume", "POST", headers=mark).json() == {"done": "resumed"}
    assert "pause" not in holds.holds(filled)
    assert ask(f"/api/v1/runs/{story}/cancel", "POST", headers=mark).status_code == 202
    found = runs.get_run(filled, story)
    assert found is not None and found.cancel_reason
    assert ask("/api/v1/pause", "POST", json={"profile": "nobody"}, headers=mark).status_code == 409


def test_the_stream_tells_changes_and_is_quiet_without(ask: Ask, filled: Store, story: str) -> None:
    answer = ask("/api/v1/stream", stream=True)
    lines = answer.iter_lines(chunk_size=1)
    first = next(line for line in lines if line.startswith(b"data:"))
    assert json.loads(first[5:])["running"][0]["state"] == "running"
    begun = time.monotonic()
    runs.change_state(filled, story, RunState.verifying)
    second = next(line for line in lines if line.startswith(b"data:"))
    assert json.loads(second[5:])["running"][0]["state"] == "verifying"
    assert time.monotonic() - begun < 10
    answer.close()


def test_a_log_is_told_to_its_end_and_goes_on_where_it_was_left(
    ask: Ask, filled: Store, source: Source, story: str
) -> None:
    for state in (RunState.verifying, RunState.publishing, RunState.in_review):
        runs.change_state(filled, story, state)
    whole = ask(f"/api/v1/runs/{story}/log").text
    assert "hello" in whole and "event: end" in whole
    position = re.findall(r"^id: (\d+)$", whole, re.MULTILINE)[-1]
    with source.log_of(story).open("a") as log:
        log.write("more\n")
    rest = ask(f"/api/v1/runs/{story}/log", headers={"Last-Event-ID": position}).text
    assert "more" in rest and "hello" not in rest


def test_no_answer_holds_a_secret(ask: Ask, filled: Store, story: str) -> None:
    runs.change_state(filled, story, RunState.failed, reason=f"gone with {CANARY}")
    other = add_run(filled, 30, RunState.running, title=CANARY)
    plans.note_plan(filled, [plan_row(8, title=CANARY, reason=CANARY)])
    paths = [*READ, "/metrics", *(f"/api/v1/runs/{{run_id}}/{what}" for what in ("log", "evidence"))]
    for path in paths:
        for run_id in (story, other.run_id) if not path.endswith(("log", "evidence")) else (story,):
            named = path.replace("{task_id}", "issue-7").replace("{identifier}", run_id).replace("{run_id}", run_id)
            answer = ask(named)
            assert answer.status_code == 200 and CANARY not in answer.text, named
    answer = ask("/api/v1/stream", stream=True)
    assert CANARY.encode() not in next(line for line in answer.iter_lines(chunk_size=1) if line.startswith(b"data:"))
    answer.close()
    assert "***" in ask(f"/api/v1/runs/{story}").json()["verify"][0]["output"]


def test_a_diff_of_a_file_in_another_encoding_is_shown(ask: Ask, filled: Store, source: Source) -> None:
    folder = source.settings.state_dir / "mirrors" / "alice" / "widget.git"
    folder.mkdir(parents=True)
    git("init", "--quiet", "--bare", git_dir=folder)

    def commit(content: bytes, *parents: str) -> str:
        blob = git("hash-object", "-w", "--stdin", git_dir=folder, stdin=content)
        tree = git("mktree", git_dir=folder, stdin=f"100644 blob {blob}\tcafé.txt\n".encode("latin-1"))
        return git(
            "commit-tree", tree, *parents, git_dir=folder, stdin=b"m", environment=Author("a", "b").environment()
        )

    base = commit(b"before\n")
    run = add_run(filled, 30, RunState.merged, base_sha=base, head_sha=commit(b"caf\xe9\n", "-p", base))
    answer = ask(f"/api/v1/runs/{run.run_id}/diff")
    assert answer.status_code == 200
    assert "+caf\ufffd" in answer.text


def test_figures_for_prometheus(ask: Ask, story: str) -> None:
    text = ask("/metrics").text
    assert "agentd_runs_active 1.0" in text and 'agentd_queue{decision="hold",rule="dependencies"} 2.0' in text


def test_without_a_store_it_says_so(source: Source, ask: Ask, filled: Store) -> None:
    filled.close()
    for path in source.settings.state_dir.glob("agentd.db*"):
        path.unlink()
    assert ask("/healthz").status_code == 503
    assert ask("/api/v1/runs").json()["error"]["code"] == "store"
    assert ask("/api/v1/state").json()["running"] == []


def test_the_page_is_small_and_holds_at_ten_thousand_runs(ask: Ask, filled: Store) -> None:
    from agentd.store import schema

    one = add_run(filled, 1, RunState.merged)
    with filled.write() as connection:
        row = dict(connection.execute(schema.runs.select()).mappings().one())
        connection.execute(
            schema.runs.insert(),
            [{**row, "run_id": f"r{n}", "task_id": f"issue-{n}", "issue_number": n} for n in range(2, 10_001)],
        )
        bodies = [{"run_id": f"r{n}", "body": "{}"} for n in range(2, 10_001)]
        connection.execute(schema.orders.insert(), bodies)
    names = re.findall(r'"(/static/[^"]+)"', ask("/").text)
    names += [name for file in names for name in re.findall(r'"(/static/[^"]+)"', ask(file).text)]
    names += [name for file in names for name in re.findall(r'"(/static/[^"]+)"', ask(file).text)]
    sent = sum(len(ask(path).content) for path in {"/", "/api/v1/state", *names})
    assert len(set(names)) >= 8 and sent < 100_000
    state = ask("/api/v1/state").json()
    assert state["counts"] == {"merged": 10_000} and len(state["recent"]) == 10
    assert len(ask("/api/v1/runs").json()["runs"]) == 50
    assert one.run_id in {run["run_id"] for run in ask("/api/v1/runs?q=issue-1-").json()["runs"]}
