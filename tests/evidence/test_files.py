"""The files of evidence: what stands in them, that they are whole, and that a change of any is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from agentd.evidence.files import MANIFEST, NAMES, About, comparable, evidence_of
from agentd.evidence.volatile import RUN_ID, settled
from agentd.evidence.writing import cleaner, problems, write
from agentd.states import RunState
from agentd.trace.span import RunRecord
from agentd.trace.spans import spans_of
from tests.traces import RUN, a_record

ABOUT = About("1.2.3", "policy", (14, "hash"), "2026-01-01T00:01:00+00:00")


def plain(text: str) -> str:
    return text


def made(state: RunState = RunState.halted, clean: Callable[[str], str] = plain) -> dict[str, bytes]:
    return evidence_of(a_record(state), "diff --git a/x b/x\n", ABOUT, clean)


def test_the_manifest_comes_last_and_names_every_other_file() -> None:
    files = made()
    assert tuple(files) == NAMES
    manifest = json.loads(files[MANIFEST])
    assert set(manifest["files"]) == set(NAMES) - {MANIFEST}
    assert (manifest["run_id"], manifest["terminal_reason"], manifest["wall_clock_seconds"]) == (RUN, "loop_budget", 60)
    assert manifest["ledger"] == {"seq": 14, "hash": "hash"}


def test_the_state_has_what_each_turn_wanted_and_what_became_of_it() -> None:
    lines = [json.loads(line) for line in made()["state.jsonl"].splitlines()]
    assert [(line["kind"], line["name"], line["state"]) for line in lines] == [
        ("stage", "agent-0", "ok"),
        ("agent_turn", "build", "ok"),
        ("stage", "verify-0", "failed"),
    ]
    turn = lines[1]
    assert [call["tool"] for call in turn["intended_tool_calls"]] == ["Bash"] * 3
    assert [result["ok"] for result in turn["tool_results"]] == [True, False, False]
    assert turn["tool_results"][1]["skipped_by_policy"]
    assert [(each["rule_id"], each["decision"]) for each in turn["policy_decisions"]] == [
        ("url_allowlist", "deny"),
        ("tool_registry", "allow"),
        ("loop_budget", "halt"),
    ]
    assert lines[2]["errors"] == [{"exception_class": "GuardianDied", "message": "it died"}]


def test_the_report_says_first_how_it_went() -> None:
    bad, good = made()["run_report.md"].decode(), made(RunState.in_review)["run_report.md"].decode()
    assert "- Result: failure (budget_exhausted); state halted, loop_budget" in bad
    assert "- halt loop_budget: loop_budget it is" in bad
    assert "- Result: success; state in_review, final_answer" in good
    assert "- Result: cancelled; state cancelled, " in made(RunState.cancelled)["run_report.md"].decode()


def test_paths_of_the_machine_and_secrets_are_in_no_file() -> None:
    clean = cleaner(("sesame-opens",), {"/home/alice": "<home>", "/home/alice/work": "<repo>", "": "<nothing>"})
    assert clean("/home/alice/work/x /home/alice/y sesame-opens") == "<repo>/x <home>/y ***REDACTED***"
    files = made(clean=cleaner(("it died",), {"sh check.sh": "<checked>"}))
    assert not [name for name, content in files.items() if b"it died" in content or b"sh check.sh" in content]


def test_evidence_is_written_whole_and_a_change_of_any_file_is_found(tmp_path: Path) -> None:
    files = made()
    write(tmp_path / "e", files)
    write(tmp_path / "e", files)
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == sorted(NAMES)
    assert problems(tmp_path / "e", files) == []
    for name in NAMES:
        write(tmp_path / "e", files)
        with (tmp_path / "e" / name).open("ab") as file:
            file.write(b" \n{")
        assert any(name in line for line in problems(tmp_path / "e")), name
        (tmp_path / "e" / name).unlink()
        assert any(name in line for line in problems(tmp_path / "e")), name


def test_what_the_store_says_otherwise_is_found(tmp_path: Path) -> None:
    write(tmp_path / "e", made())
    other = made(RunState.in_review)
    found = [line.split(":")[0].rpartition("/")[2] for line in problems(tmp_path / "e", other)]
    assert found == ["trace.json", "run_report.md", "manifest.json"]


def test_only_what_the_list_names_is_left_out_of_a_comparison() -> None:
    content = made()[MANIFEST]
    values, same = json.loads(content), comparable(MANIFEST, content)
    left_out = {key for key in values if comparable(MANIFEST, json.dumps({**values, key: "other"}).encode()) == same}
    assert left_out == {"timestamp", "wall_clock_seconds", "code", "ledger"}


def test_a_settled_record_keeps_its_tree_and_loses_its_times() -> None:
    def tree(record: RunRecord) -> list[tuple[str, str]]:
        spans = {span.span_id: span for span in spans_of(record)}
        return sorted((span.name, spans[span.parent_id].name if span.parent_id else "") for span in spans.values())

    record = a_record()
    fixed = settled(record)
    assert tree(fixed) == tree(record)
    assert {span.attributes["agent.run_id"] for span in spans_of(fixed)} == {RUN_ID}
    later = tuple(step.model_copy(update={"started_at": step.started_at + timedelta(0, 0.3)}) for step in record.steps)
    assert spans_of(settled(a_record(steps=later))) == spans_of(fixed) != spans_of(record)
