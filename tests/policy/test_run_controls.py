"""Run controls: each control at its border, and any history against a second, independently written reading of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agentd.model import Decision
from agentd.policy.run_controls import SLOTS, RunControls, evaluate, rendered, verdict_of

FIX = {"slot": "fixloop", "action": "patch", "output_fingerprint": "same"}


def fixes(*diffs: str) -> list[dict[str, Any]]:
    return [{"slot": "fixloop", "action": f"round {at}", "diff_fingerprint": diff} for at, diff in enumerate(diffs)]


@pytest.mark.parametrize(
    ("history", "controls", "expected"),
    [
        ([], {}, None),
        ([{"work_units": 250}], {}, None),
        ([{"work_units": 251}], {}, ("run-budget", "run-budget-exceeded", "run", 251, 250)),
        ([{"work_units": True}, {"work_units": "9"}, {"work_units": -9}, {}], {"max_work_units": 4}, None),
        ([{"work_units": 2}, FIX, FIX, FIX], {"max_work_units": 4}, ("run-budget", "run-budget-exceeded", "run", 5, 4)),
        ([{"slot": "guard"}], {}, None),
        ([{"slot": "guard"}, {"slot": " guard "}], {}, ("step-cap", "step-cap-exceeded", "guard", 2, 1)),
        ([{"step_id": "s4"}, {"step_id": "s4"}], {}, ("step-cap", "step-cap-exceeded", "s4", 2, 1)),
        ([{"action": "a"}, {"action": "b"}, {"action": "c"}], {}, None),
        ([{"slot": "tester"}] * 4 + [{"slot": "test"}] * 4, {}, None),
        ([{"slot": "tester"}] * 5, {}, ("step-cap", "step-cap-exceeded", "tester", 5, 4)),
        ([{"slot": "reviewers"}] * 4, {}, ("step-cap", "step-cap-exceeded", "reviewers", 4, 3)),
        ([{"slot": "fixloop"}] * 3, {}, None),
        ([{"slot": "fixloop"}] * 4, {"step_caps": {"guard": 9}}, ("step-cap", "step-cap-exceeded", "fixloop", 4, 3)),
        ([{"slot": "guard"}] * 9, {"step_caps": {"guard": 9}}, None),
        ([FIX] * 3, {}, ("oscillation", "repeated-identical-action", "fixloop", 3, 3)),
        ([FIX, FIX, {**FIX, "output_fingerprint": "other"}], {}, None),
        ([FIX, FIX, {}, FIX], {}, None),
        ([{"action": "x"}] * 3, {}, ("oscillation", "repeated-identical-action", "run", 3, 3)),
        (
            fixes(*"abab"),
            {"step_caps": {"fixloop": 10}},
            ("oscillation", "alternating-diff-fingerprint", "diff", "a,b,a,b", "no 4-round alternation"),
        ),
        (
            fixes(*"abcabc"),
            {"step_caps": {"fixloop": 10}, "alternation_window": 6},
            ("oscillation", "alternating-diff-fingerprint", "diff", "a,b,c,a,b,c", "no 6-round alternation"),
        ),
        (fixes(*"abcabc"), {"step_caps": {"fixloop": 10}}, None),
        (fixes(*"aaaa"), {"step_caps": {"fixloop": 10}}, None),
        (fixes(*"ababc"), {"step_caps": {"fixloop": 10}}, None),
        ("no history", {}, None),
        ([None, "x", 3], {}, None),
    ],
)
def test_each_control_at_its_border(history: Any, controls: dict[str, Any], expected: tuple[Any, ...] | None) -> None:
    result = evaluate(history, RunControls(**controls))
    reason = result["reason"]
    told = reason and tuple(reason[key] for key in ("control", "reason", "scope", "observed", "limit"))
    assert told == expected
    halts = expected is not None
    assert (result["status"], result["hard_halt"], result["fail_closed"]) == ("halt" if halts else "pass", halts, halts)
    assert result["schema_version"] == "keel.run-controls.v1"


def test_the_halt_is_told_to_the_letter() -> None:
    result = evaluate(fixes(*"abab"), RunControls(step_caps={"fixloop": 10}))
    assert result["reason"]["action"] == "halt"
    assert result["summary"] == {"event_count": 4, "work_units": 4}
    assert result["reason"]["rendered"] == (
        "<!-- keel.run-control-halt.v1 -->\n\n## Run control halt\n\n- **Control:** `oscillation`\n"
        "- **Reason:** alternating-diff-fingerprint\n- **Scope:** diff\n- **Observed:** a,b,a,b\n"
        "- **Limit:** no 4-round alternation\n- **Action:** halt\n"
    )
    assert rendered({"control": "step-cap", "reason": "r", "scope": "", "observed": 2}).endswith(
        "- **Scope:** run\n- **Observed:** 2\n- **Limit:** not recorded\n- **Action:** halt\n"
    )


def test_a_halt_is_a_verdict() -> None:
    assert verdict_of(evaluate([], RunControls()), "run-1") is None
    verdict = verdict_of(evaluate([{"slot": "guard"}] * 2, RunControls()), "run-1")
    assert verdict is not None
    assert (verdict.control, verdict.rule_id, verdict.decision) == ("step-cap", "step-cap-exceeded", Decision.halt)
    assert (verdict.scope, verdict.observed, verdict.limit) == ("run-1", "guard: 2", "1")


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"step_caps": {"nothing": 2}}, "there is no step 'nothing'"),
        ({"step_caps": {"fixloop": 0}}, "must be 1 or more"),
        ({"alternation_window": 5}, "must be an even number"),
        ({"alternation_window": 2}, "greater than or equal to 4"),
        ({"identical_actions": 1}, "greater than or equal to 2"),
        ({"max_work_units": 0}, "greater than or equal to 1"),
        ({"max_works": 1}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be(settings_: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RunControls(**settings_)


def test_every_round_that_is_allowed_can_be_mended_and_verified() -> None:
    for rounds in range(11):
        history = [{"slot": "", "step_id": "implement"}, *fixes(*map(str, range(rounds)))]
        history += [{"slot": "tester", "action": str(at)} for at in range(rounds + 1)]
        assert evaluate(history, RunControls().for_rounds(rounds))["status"] == "pass"
    assert RunControls(step_caps={"fixloop": 2}).for_rounds(9).step_caps == {"fixloop": 2, "tester": 10}
    assert len(SLOTS) == len(set(SLOTS)) == 28


# The second reading: one pass over plain dictionaries, by prefixes and slices instead of counters and streaks.


def reference(history: Any, limits: dict[str, Any]) -> tuple[str, Any, Any, Any, Any] | None:
    rows = [row for row in history if isinstance(row, dict)] if isinstance(history, list | tuple) else []

    def text(row: dict[Any, Any], name: str) -> str:
        return row[name].strip() if isinstance(row.get(name), str) else ""

    def units(row: dict[Any, Any]) -> int:
        value = row.get("work_units")
        return value if isinstance(value, int) and value >= 1 else 1

    budget = limits["budget"] if isinstance(limits["budget"], int) and limits["budget"] > 0 else 250
    if sum(map(units, rows)) > budget:
        return "run-budget-exceeded", "run", sum(map(units, rows)), budget, "run-budget"
    scopes = [text(row, "slot") or text(row, "step_id") for row in rows]
    for end in range(1, len(scopes) + 1):
        scope = scopes[end - 1]
        cap = {"fixloop": 3, "reviewers": 3, "tester": 4, "test": 4}.get(scope)
        if cap is None:
            cap = limits["cap"] if isinstance(limits["cap"], int) and limits["cap"] > 0 else 1
        own = limits["caps"].get(scope)
        if isinstance(own, int) and own > 0:
            cap = own
        if scope and scopes[:end].count(scope) > cap:
            return "step-cap-exceeded", scope, scopes[:end].count(scope), cap, "step-cap"
    same = limits["same"] if isinstance(limits["same"], int) and limits["same"] > 1 else 3
    keys = [tuple(text(row, name) for name in ("step_id", "slot", "action", "output_fingerprint")) for row in rows]
    for at in range(len(keys) - same + 1):
        piece = keys[at : at + same]
        if len(set(piece)) == 1 and (piece[0][2] or piece[0][3]):
            return "repeated-identical-action", piece[0][1] or piece[0][0] or "run", same, same, "oscillation"
    window = limits["window"]
    if not isinstance(window, int) or window < 4 or window % 2 == 1:
        window = 4
    diffs = [text(row, "diff_fingerprint") for row in rows if text(row, "diff_fingerprint")]
    last = diffs[len(diffs) - window :] if len(diffs) >= window else []
    if last and all(last[at] == last[at + window // 2] for at in range(window // 2)) and len(set(last)) > 1:
        return "alternating-diff-fingerprint", "diff", ",".join(last), f"no {window}-round alternation", "oscillation"
    return None


words = st.sampled_from(["", " ", "a", " a ", "b", "fixloop", "tester", "reviewers", "test", "guard", None, 7])
numbers = st.one_of(st.integers(-2, 130), st.booleans(), st.none(), st.just("4"), st.just(2.5))
rows = st.dictionaries(
    st.sampled_from(["step_id", "slot", "action", "output_fingerprint", "diff_fingerprint"]), words, max_size=5
)
events = st.one_of(
    st.builds(lambda row, units: {**row, "work_units": units}, rows, numbers), rows, st.none(), st.just("x"), st.just(1)
)
repeated = st.lists(st.tuples(events, st.integers(1, 4)), max_size=8).map(
    lambda pairs: [event for event, times in pairs for _ in range(times)]
)
diffs = st.lists(st.sampled_from("abc"), max_size=12).map(lambda found: [{"diff_fingerprint": each} for each in found])
histories = st.one_of(
    repeated,
    diffs,
    st.builds(lambda one, two: one + two, repeated, diffs),
    repeated.map(tuple),
    st.none(),
    st.just("history"),
)
limits = st.fixed_dictionaries(
    {
        "budget": st.one_of(st.integers(-1, 300), st.none(), st.booleans()),
        "cap": st.one_of(st.integers(-1, 6), st.none()),
        "caps": st.dictionaries(
            st.sampled_from(["fixloop", "guard", "a", "tester"]), st.one_of(st.integers(-1, 9), st.none())
        ),
        "same": st.one_of(st.integers(-1, 5), st.none()),
        "window": st.one_of(st.integers(-2, 9), st.none()),
    }
)


@settings(max_examples=600, deadline=None)
@given(histories, limits)
@example([FIX] * 3, {"budget": 250, "cap": 1, "caps": {}, "same": 3, "window": 4})
@example(fixes(*"abab"), {"budget": 250, "cap": 1, "caps": {"fixloop": 4}, "same": 3, "window": 4})
def test_any_history_means_what_a_second_reading_says(history: Any, given_limits: dict[str, Any]) -> None:
    controls = RunControls.model_construct(
        max_work_units=given_limits["budget"],
        step_cap=given_limits["cap"],
        step_caps=given_limits["caps"],
        identical_actions=given_limits["same"],
        alternation_window=given_limits["window"],
    )
    reason = evaluate(history, controls)["reason"]
    told = reason and tuple(reason[key] for key in ("reason", "scope", "observed", "limit", "control"))
    assert told == reference(history, given_limits)
