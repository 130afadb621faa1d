"""Evidence and traces of what has ended: made once, after a crash too, and no sink that is down harms anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from agentd.config import Settings
from agentd.evidence.making import evidence_for
from agentd.evidence.writing import problems
from agentd.model import Step, root_step_id, stage_step_id
from agentd.run.context import Context
from agentd.states import RunState
from agentd.store import claims, ledger, runs, steps
from agentd.store.connection import Store
from agentd.supervisor.records import MOST_TRIES, make_records, sources_of
from tests.conftest import TurnedClock
from tests.run.test_recording import TASK
from tests.store.test_store import a_run
from tests.traces import Receiver

RUN = "p0-01-1-aaaaaa"


@pytest.fixture
def context(store: Store, clock: TurnedClock, tmp_path: Path) -> Context:
    """An installation with one run that has failed."""
    values = {"repo": "a/b", "state_dir": tmp_path / "state", "log_dir": tmp_path / "logs"}
    made = Context(
        Settings.model_validate(values), store, cast(Any, None), cast(Any, None), clock, "e",
        {"HOME": str(tmp_path), "API_KEY": "sesame-opens"}, "h",
    )  # fmt: skip
    ended(store, RUN)
    return made


def ended(store: Store, run_id: str) -> None:
    run = a_run(store, run_id, order={"task": TASK.model_dump(mode="json"), "profile": {}})
    stage = {"run_id": run_id, "kind": "stage", "name": "announce", "state": "failed", "summary": "sesame-opens"}
    ids = {"step_id": stage_step_id(run_id, "announce"), "parent_id": root_step_id(run_id)}
    steps.record(store, [Step.model_validate({**stage, **ids, "started_at": run.started_at})])
    runs.change_state(store, run_id, RunState.failed, reason="the key is sesame-opens")


def sinks(context: Context, endpoint: str = "", *names: str) -> Context:
    tracing = context.settings.tracing.model_copy(update={"sinks": names, "endpoint": endpoint})
    return replace(context, settings=context.settings.model_copy(update={"tracing": tracing}))


def dropped(context: Context) -> list[dict[str, Any]]:
    events = [json.loads(body) for _, body in ledger.events_after(context.store, 0)]
    return [event["data"] for event in events if event["event_type"] == "record_dropped"]


def test_a_run_that_ended_badly_has_evidence_and_a_trace_without_secrets(context: Context) -> None:
    make_records(context)
    folder = context.run_dir(RUN) / "evidence"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["state"], manifest["run_id"]) == ("failed", RUN)
    trace = context.settings.log_dir / "traces" / f"{RUN}.json"
    for path in (*folder.iterdir(), trace):
        assert "sesame-opens" not in path.read_text()
    before = {path: path.stat().st_mtime_ns for path in (*folder.iterdir(), trace)}
    make_records(context)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_a_crash_kept_from_being_written_is_written_later(context: Context) -> None:
    folder = context.run_dir(RUN) / "evidence"
    folder.mkdir(parents=True)
    (folder / ".trace.json.new").write_text("half")
    (folder / "state.jsonl").write_text("of another time")
    make_records(context)
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
        "changes.patch",
        "manifest.json",
        "run_report.md",
        "state.jsonl",
        "trace.json",
    ]


def test_a_run_that_is_under_way_has_none(context: Context, store: Store) -> None:
    a_run(store, "p0-02-1-aaaaaa", "P0-02", order={"task": TASK.model_dump(mode="json"), "profile": {}})
    make_records(context)
    assert not context.run_dir("p0-02-1-aaaaaa").exists()


def test_evidence_waits_for_the_last_words_of_a_run_that_has_its_end(context: Context, store: Store) -> None:
    claim = claims.acquire(store, "P0-01", "h", RUN, 90)
    assert claim is not None
    ids = {"run_id": RUN, "step_id": stage_step_id(RUN, "finish"), "parent_id": root_step_id(RUN)}
    stage = Step.model_validate({**ids, "kind": "stage", "name": "finish", "started_at": store.clock.now()})
    steps.record(store, [stage])
    make_records(context)
    steps.record(store, [stage.model_copy(update={"state": "ok", "ended_at": store.clock.now()})])
    claims.release(store, claim)
    make_records(context)
    sources = sources_of(context)
    assert problems(sources.folder(RUN), evidence_for(sources, RUN)) == []


def test_a_collector_that_is_down_is_asked_again_and_then_let_be(context: Context, clock: TurnedClock) -> None:
    context = sinks(context, "http://127.0.0.1:1", "otlp", "file")
    for _ in range(MOST_TRIES):
        assert dropped(context) == []
        make_records(context)
        make_records(context)  # not before its time
        clock.pass_seconds(3600)
    [told] = dropped(context)
    assert (told["kind"], told["tries"]) == ("otlp", MOST_TRIES)
    make_records(context)
    assert len(dropped(context)) == 1
    assert (context.settings.log_dir / "traces" / f"{RUN}.json").exists()


def test_a_collector_that_comes_back_gets_what_it_has_missed(
    context: Context, clock: TurnedClock, receiver: Receiver, store: Store
) -> None:
    make_records(sinks(context, "http://127.0.0.1:1", "otlp"))
    ended(store, "p0-03-1-aaaaaa")
    clock.pass_seconds(3600)
    make_records(sinks(context, receiver.url, "otlp"))
    assert {span.trace_id.hex() for span in receiver.spans()} == {
        json.loads((context.run_dir(run) / "evidence" / "manifest.json").read_text())["trace_id"]
        for run in (RUN, "p0-03-1-aaaaaa")
    }
    assert dropped(context) == []


def test_a_sink_that_cannot_work_is_said_once_a_run(context: Context) -> None:
    make_records(sinks(context, "", "langsmith"))
    [told] = dropped(context)
    assert "no LANGSMITH_API_KEY" in told["message"]


def test_langsmith_is_asked_for_its_project_once(context: Context, receiver: Receiver, store: Store) -> None:
    receiver.answers = {"/sessions": [], "/info": {}}
    environ = {"LANGSMITH_API_KEY": "k", "LANGSMITH_PROJECT": "p", "LANGSMITH_ENDPOINT": receiver.url}
    ended(store, "p0-03-1-aaaaaa")
    make_records(replace(sinks(context, "", "langsmith"), environ=environ))
    paths = [path.partition("?")[0] for path, _, _ in receiver.requests]
    assert paths.count("/sessions") == 1
    assert paths.count("/otel/v1/traces") == 2
