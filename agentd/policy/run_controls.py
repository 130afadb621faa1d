"""Run controls: whether a run's history still goes anywhere. Pure, and without a clock: time limits are elsewhere.

Result and comment keep the form of `keel.run-controls.v1`. First hit wins, in the order of CONTROLS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import Field, field_validator

from agentd.model import Decision, Frozen, Verdict

SCHEMA = "keel.run-controls.v1"
MARKER = "<!-- keel.run-control-halt.v1 -->"
SLOTS = (
    *("after:config", "before:select", "select", "after:select", "before:branch", "after:branch", "guard"),
    *("before:implement", "after-implement", "classify", "after:classify", "before:ci", "after:ci", "reviewers"),
    *("after:review", "tester", "test", "after:test", "before:fixloop", "fixloop", "after:fixloop", "pre-merge"),
    *("after:merge", "capture", "post-merge", "before:close", "on-close", "after:close"),
)
STEPS = (
    *("config", "select", "branch", "guard", "implement", "classify", "ci", "review", "test", "fixloop", "merge"),
    *("capture", "close"),
)
DEFAULT_WORK_UNITS = 250
DEFAULT_STEP_CAP = 1
STEP_CAPS: Mapping[str, int] = MappingProxyType({"fixloop": 3, "reviewers": 3, "tester": 4, "test": 4})
"""Three rounds of mending, and a verification of each and of the work before them."""
DEFAULT_IDENTICAL = 3
DEFAULT_WINDOW = 4


class RunControls(Frozen):
    """`[run_controls]`: when a run is ended because it goes nowhere."""

    max_work_units: int = Field(default=DEFAULT_WORK_UNITS, ge=1)
    """Steps of one run: turns of the agent and verifications."""
    step_cap: int = Field(default=DEFAULT_STEP_CAP, ge=1)
    """How often a step may be done that `step_caps` does not name."""
    step_caps: dict[str, int] = Field(default_factory=dict)
    """How often a step may be done, by its name. Default: fixloop and reviewers 3, tester and test 4; as many as
    max_fix_rounds asks for, when that is more."""
    identical_actions: int = Field(default=DEFAULT_IDENTICAL, ge=2)
    """So many times in a row the same work with the same outcome end the run."""
    alternation_window: int = Field(default=DEFAULT_WINDOW, ge=4)
    """So many last differences, whose second half repeats the first, end the run. An even number."""

    @field_validator("step_caps")
    @classmethod
    def _known_steps(cls, value: dict[str, int]) -> dict[str, int]:
        for name, cap in value.items():
            if name not in SLOTS and name not in STEPS:
                raise ValueError(f"there is no step {name!r}; there are {', '.join(sorted({*SLOTS, *STEPS}))}")
            if cap < 1:
                raise ValueError(f"the cap of {name!r} must be 1 or more, not {cap}")
        return value

    @field_validator("alternation_window")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"must be an even number, not {value}")
        return value

    def for_rounds(self, rounds: int) -> RunControls:
        """With room for so many rounds of mending, where no cap says otherwise."""
        needed = {"fixloop": max(STEP_CAPS["fixloop"], rounds), "tester": max(STEP_CAPS["tester"], rounds + 1)}
        return self.model_copy(update={"step_caps": {**needed, **self.step_caps}})


@dataclass(frozen=True)
class Done:
    """One thing that a run has done, as the controls see it."""

    step_id: str
    slot: str
    action: str
    output_fingerprint: str
    diff_fingerprint: str
    work_units: int

    @property
    def scope(self) -> str:
        """What its repetitions are counted by."""
        return self.slot or self.step_id


@dataclass(frozen=True)
class Halt:
    """Why a run must end."""

    control: str
    reason: str
    scope: str
    observed: int | str
    limit: int | str


def evaluate(history: Any, controls: RunControls) -> dict[str, Any]:
    """{schema_version, status pass|halt, hard_halt, fail_closed, reason, summary} of a history, which may be anything.

    `reason` is None or {control, reason, scope, observed, limit, action, rendered}. A limit that is none, which only
    `model_construct` lets through, is the default one.
    """
    done = normalised(history)
    halt = next((found for control in CONTROLS if (found := control(done, controls))), None)
    return {
        "schema_version": SCHEMA,
        "status": "halt" if halt else "pass",
        "hard_halt": halt is not None,
        "fail_closed": halt is not None,
        "reason": _told(halt) if halt else None,
        "summary": {"event_count": len(done), "work_units": sum(each.work_units for each in done)},
    }


def verdict_of(result: Mapping[str, Any], scope: str) -> Verdict | None:
    """The halt of a result as a Verdict about `scope`; None when it passed."""
    reason = result["reason"]
    if reason is None:
        return None
    return Verdict(
        control=reason["control"],
        rule_id=reason["reason"],
        decision=Decision.halt,
        scope=scope,
        observed=f"{reason['scope']}: {reason['observed']}",
        limit=str(reason["limit"]),
        action="look at what the agent repeats; a clearer task or another profile may help",
    )


def rendered(halt: Mapping[str, Any]) -> str:
    """The comment that tells a halt: Markdown with a marker, and a line break at its end."""
    return "\n".join(
        [
            MARKER,
            "",
            "## Run control halt",
            "",
            f"- **Control:** `{_shown(halt.get('control'), 'unknown')}`",
            f"- **Reason:** {_shown(halt.get('reason'), 'No reason recorded.')}",
            f"- **Scope:** {_shown(halt.get('scope'), 'run')}",
            f"- **Observed:** {_shown(halt.get('observed'), 'not recorded')}",
            f"- **Limit:** {_shown(halt.get('limit'), 'not recorded')}",
            f"- **Action:** {_shown(halt.get('action'), 'halt')}",
            "",
        ]
    )


def normalised(history: Any) -> tuple[Done, ...]:
    """What of a history counts: its dictionaries, with texts trimmed and work units from 1 on."""
    if not isinstance(history, (list, tuple)):
        return ()
    return tuple(
        Done(
            step_id=_text(each.get("step_id")),
            slot=_text(each.get("slot")),
            action=_text(each.get("action")),
            output_fingerprint=_text(each.get("output_fingerprint")),
            diff_fingerprint=_text(each.get("diff_fingerprint")),
            work_units=_positive(each.get("work_units"), 1),
        )
        for each in history
        if isinstance(each, dict)
    )


def _budget(done: Sequence[Done], controls: RunControls) -> Halt | None:
    limit = _positive(controls.max_work_units, DEFAULT_WORK_UNITS)
    used = sum(each.work_units for each in done)
    return Halt("run-budget", "run-budget-exceeded", "run", used, limit) if used > limit else None


def _step_cap(done: Sequence[Done], controls: RunControls) -> Halt | None:
    counts: Counter[str] = Counter()
    for each in done:
        if not each.scope:
            continue
        counts[each.scope] += 1
        default = STEP_CAPS.get(each.scope, _positive(controls.step_cap, DEFAULT_STEP_CAP))
        limit = _positive(controls.step_caps.get(each.scope), default)
        if counts[each.scope] > limit:
            return Halt("step-cap", "step-cap-exceeded", each.scope, counts[each.scope], limit)
    return None


def _identical(done: Sequence[Done], controls: RunControls) -> Halt | None:
    threshold = controls.identical_actions if _positive(controls.identical_actions, 0) > 1 else DEFAULT_IDENTICAL
    streak, before = 0, None
    for each in done:
        if not (each.action or each.output_fingerprint):
            streak, before = 0, None
            continue
        this = (each.step_id, each.slot, each.action, each.output_fingerprint)
        streak, before = (streak + 1 if this == before else 1), this
        if streak >= threshold:
            return Halt("oscillation", "repeated-identical-action", each.scope or "run", streak, threshold)
    return None


def _alternating(done: Sequence[Done], controls: RunControls) -> Halt | None:
    window = _positive(controls.alternation_window, 0)
    window = DEFAULT_WINDOW if window < DEFAULT_WINDOW or window % 2 else window
    tail = [each.diff_fingerprint for each in done if each.diff_fingerprint][-window:]
    half = tail[: window // 2]
    if len(tail) < window or half != tail[window // 2 :] or len(set(half)) < 2:
        return None
    return Halt("oscillation", "alternating-diff-fingerprint", "diff", ",".join(tail), f"no {window}-round alternation")


CONTROLS: tuple[Callable[[Sequence[Done], RunControls], Halt | None], ...] = (
    _budget,
    _step_cap,
    _identical,
    _alternating,
)
"""In their order; each sees the whole history."""


def _told(halt: Halt) -> dict[str, Any]:
    told: dict[str, Any] = {
        "control": halt.control,
        "reason": halt.reason,
        "scope": halt.scope,
        "observed": halt.observed,
        "limit": halt.limit,
        "action": "halt",
    }
    return told | {"rendered": rendered(told)}


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _positive(value: Any, default: int) -> int:
    return int(value) if isinstance(value, int) and value > 0 else default


def _shown(value: Any, default: str) -> str:
    return (str(value).strip() if value is not None else "") or default
