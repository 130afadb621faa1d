"""How a run's end is handed on."""

from __future__ import annotations

from agentd.model import Decision, Verdict
from agentd.run.desk import RunEnd
from agentd.states import RunState


def test_an_end_keeps_its_words_without_what_no_store_takes() -> None:
    verdict = Verdict(control="diff", rule_id="r", decision=Decision.deny, scope="t", evidence=("bad-\udcff.bin",))
    end = RunEnd(RunState.failed, "no \0", rule="diff_refused", detail="\ud83d", verdict=verdict)
    assert (end.reason, str(end), end.detail) == ("no �", "no �", "�")
    again = RunEnd.from_json(end.to_json())
    assert (again.reason, again.detail) == ("no �", "�")
    assert again.verdict is not None and again.verdict.evidence == ("bad-�.bin",)
