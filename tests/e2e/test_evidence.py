"""What a run leaves for others: evidence that can be checked, a trace, its id in the pull request and in the agent."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from agentd.trace.span import trace_id_of
from tests.e2e.conftest import GOOD_AGENT, Installation

TELLING_AGENT = GOOD_AGENT + "import os\nopen('told.txt', 'w').write(os.environ['TRACEPARENT'])\n"


def test_a_good_run_leaves_its_evidence_its_trace_and_its_steps(here: Installation) -> None:
    here.agent(TELLING_AGENT)
    here.configure('[tracing]\nlink = "https://viewer.example/t/{trace_id}"\n')
    here.issue("Make it")
    [run] = here.once()["runs"]
    run_id, trace_id = run["run_id"], trace_id_of(run["run_id"])
    state, logs = here.folder / ".agentd" / "state", here.folder / ".agentd" / "logs"
    assert "is what the store says" in here.run("evidence", "check", run_id)
    assert "- Result: success; state in_review, final_answer" in here.run("evidence", "show", run_id)
    manifest = json.loads(here.run("evidence", "show", run_id, "--json"))
    assert (manifest["trace_id"], manifest["head_sha"]) == (trace_id, run["head_sha"])
    folder = Path(manifest["folder"])
    patch = (folder / "changes.patch").read_text()
    assert "+++ b/done.txt" in patch
    for path in folder.iterdir():
        assert str(here.folder) not in path.read_text(), path
    [pull] = here.pulls()
    assert f"Trace [{trace_id}](https://viewer.example/t/{trace_id})" in pull["body"]
    trace = json.loads((logs / "traces" / f"{run_id}.json").read_text())
    spans = {span["name"]: span for span in trace["resourceSpans"][0]["scopeSpans"][0]["spans"]}
    assert {span["traceId"] for span in spans.values()} == {trace_id}
    assert f"+00-{trace_id}-{spans['invoke_agent build']['spanId']}-01" in patch
    stages = ["announce", "synchronise", "agent-0", "verify-0", "sync-0", "push", "open_pull", "hand_over"]
    assert [name.removeprefix("stage ") for name in spans if name.startswith("stage ")] == stages
    assert "the ledger verifies" in here.run("ledger", "verify")
    assert here.run("events", "validate").startswith("Validated ")
    # Somebody turns the story round, in the files or in the store.
    (folder / "run_report.md").write_text("all went well")
    assert "run_report.md: is not what the manifest says" in here.run("evidence", "check", run_id, check=1)
    with sqlite3.connect(state / "agentd.db") as file:
        file.execute("UPDATE steps SET state = 'failed' WHERE name = 'push'")
    assert "trace.json: is not what the store says" in here.run("evidence", "check", run_id, check=1)


def test_a_bad_run_leaves_them_too_with_the_work_it_did(here: Installation) -> None:
    here.agent("open('other.txt', 'w').write('precious')")
    here.configure("max_fix_rounds = 0")
    here.issue()
    [run] = here.once(check=1)["runs"]
    assert "is what the store says" in here.run("evidence", "check", run["run_id"])
    report = here.run("evidence", "show", run["run_id"])
    assert "- Result: failure" in report and "state verify_failed" in report
    manifest = json.loads(here.run("evidence", "show", run["run_id"], "--json"))
    assert "+precious" in (Path(manifest["folder"]) / "changes.patch").read_text()
    assert "no such file" in here.run("evidence", "show", "issue-9-1-aaaaaa", check=1).lower()


@pytest.mark.parametrize(("method", "path", "body"), [("PUT", "/merge", {}), ("PATCH", "", {"state": "closed"})])
def test_evidence_is_still_true_when_the_pull_request_was_merged_or_closed(
    here: Installation, method: str, path: str, body: dict[str, str]
) -> None:
    here.issue()
    [run] = here.once()["runs"]
    [pull] = here.pulls()
    here.act(method, f"/pulls/{pull['number']}{path}", body)
    here.once()
    assert run["run_id"] in here.run("runs", "list")
    assert "in_review" not in here.run("runs", "list")
    assert "is what the store says" in here.run("evidence", "check", run["run_id"])
    manifest = json.loads(here.run("evidence", "show", run["run_id"], "--json"))
    (Path(manifest["folder"]) / "run_report.md").write_text("all went well")
    assert "run_report.md: is not what the manifest says" in here.run("evidence", "check", run["run_id"], check=1)
