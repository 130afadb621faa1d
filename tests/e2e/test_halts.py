"""Everything that ends a run before its agent is done: its Event, its span, its comment, the run's end.

Each case is played twice: with the rule, and with the rule out of the way, where the same agent ends well. So a rule
that never fires fails its case, and one that fires for another reason does too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from agentd.policy.failures import ENDINGS, ending_of
from agentd.policy.run_controls import MARKER
from agentd.practice.model import PER_PROMPT, ScriptedModel
from tests.e2e.conftest import Installation
from tests.e2e.test_policy import decided, spans

REPORT = {"summary": "done", "files_changed": ["done.txt"], "commands_verified": ["true"]}
WELL = "import os, time\nprint('up', flush=True)\n{}\nopen('done.txt', 'w').write('done')"
"""A program that does something of its own before its work."""
SLEEPS = WELL.format("time.sleep(4)")
ROUNDS = """
import pathlib
count = pathlib.Path(os.environ["HOME"], "rounds")
turn = len(count.read_text()) if count.exists() else 0
count.write_text("x" * (turn + 1))
if turn > 5: open("enough", "w").write("x")
pathlib.Path("work.txt").write_text({works!r}[turn % {period}])
"""
"""Goes on for six rounds, whatever the verify command says; after them that one is content."""
BUDGET, CYCLE = ("budget_exhausted", "loop_budget"), ("cycle_detection", "policy_denial_terminal")
STALL, REFUSED = ("agent_stall", "failure_mode_terminal"), (None, "policy_denial_terminal")


class Case(NamedTuple):
    """What an agent does, which rule ends it, and how."""

    rule: str
    end: tuple[str | None, str]
    """failure mode and terminal reason"""
    said: str
    """part of the reason"""
    work: str | list[dict[str, Any]]
    """source of a program, or what the model says to the built-in agent"""
    config: tuple[str, str]
    """lines of agentd.toml: with the rule, and with it out of the way"""
    policy: tuple[str, str] = ("{}", "{}")
    """policy.yaml: the same"""
    denied: str = ""
    """the rule of the denial before the end"""
    verify: str = "sh check.sh"


def reads(times: int, **usage: Any) -> list[dict[str, Any]]:
    """So many calls of a tool, each another one, then the end."""
    calls = [
        {"call": {"name": "read_file", "input": {"path": "README.md", "first_line": line + 1}}} | usage
        for line in range(times)
    ]
    return [*calls, {"write": {"path": "done.txt", "content": "done\n"}}, {"call": {"name": "report", "input": REPORT}}]


def rounds(works: str) -> str:
    return WELL.format(ROUNDS.format(works=works, period=len(works)))


def going(rule: str, end: tuple[str, str], works: str, limit: str) -> Case:
    """An agent whose rounds go nowhere."""
    off = "max_fix_rounds = 10\n[run_controls]\nidentical_actions = 99\nalternation_window = 98\nmax_work_units = 99\n"
    on = limit if limit.startswith("max_fix") else f"max_fix_rounds = 10\n[run_controls]\n{limit}\n"
    return Case(rule, end, "", rounds(works), (on, off), verify="test -e enough")


def writing(denied: str, what: str, allowed: str) -> Case:
    """An agent that leaves what may not be published."""
    said = "what the agent left may not be published"
    config = ("max_fix_rounds = 0", f"max_fix_rounds = 0\n[diff]\n{allowed}\n")
    return Case("diff_refused", REFUSED, said, WELL.format(what), config, denied=denied)


def limited(limit: str, used: str, config: str = "") -> Case:
    """A limit of the policy's `loop_budget`."""
    script = reads(8, usage={"input": 900, "output": 100}) if "wall" not in limit else [{"shell": "sleep 1"}] * 5
    policy = (f"loop_budget: {{{limit}}}", "{}")
    return Case("loop_budget", BUDGET, used, [*script, *reads(0)], (config, config), policy)


KEY = "sk-ant-api03-" + "Ab3dEf7hIj" * 8 + "-AbCdEfAA"
PRICED = '[gateway.prices."practice"]\ninput = 10.0\noutput = 50.0\n'
CASES = {
    "runtime": Case(
        *("agent_timeout", BUDGET, "the agent did not end within 0.03 minutes", SLEEPS),
        ("max_agent_runtime_minutes = 0.03", ""),
    ),
    "overdue": Case("run_overdue", BUDGET, "(max_run_minutes)", SLEEPS, ("max_run_minutes = 0.03", "")),
    "memory": Case(
        *("agent_limit", BUDGET, "memory: ", WELL.format("b = bytearray(300 << 20); time.sleep(3)")),
        ("max_memory_mib = 64", ""),
    ),
    "disk": Case(
        *("agent_limit", BUDGET, "disk: "),
        WELL.format("time.sleep(1); open('big', 'w').write('x' * 9000000); time.sleep(3); os.unlink('big')"),
        ("max_disk_mib = 1", ""),
    ),
    "cpu": Case(
        *("agent_limit", BUDGET, "cpu: ", WELL.format("while time.process_time() < 3: pass")),
        ("max_cpu_minutes = 0.01", ""),
    ),
    "silent": Case(
        *("agent_silent", STALL, "(agent_silence_minutes)", SLEEPS),
        ("agent_silence_minutes = 0.03", ""),
    ),
    "lifeless": Case(
        *("agent_lifeless", STALL, "(agent_startup_minutes)", SLEEPS.replace("print('up', flush=True)", "")),
        ("agent_startup_minutes = 0.03", ""),
    ),
    "own limit": Case(
        *("agent_own_limit", BUDGET, "the agent stopped at a limit of its own", reads(3)),
        ("max_steps = 2", ""),
    ),
    "budget": Case(
        *("budget_run_calls", BUDGET, "the budget of run:", reads(3)),
        ("[budgets]\nrun = {calls = 2}", ""),
    ),
    "iterations": limited("max_iterations: 3", "3 iterations of the run are used (limit: 3 iterations)"),
    "tokens": limited("max_tokens: 2500", "(limit: 2500 tokens)"),
    "cost": limited("max_cost_usd: 0.03", "(limit: 0.03", PRICED),
    "wall": limited("max_wall_seconds: 3", "(limit: 3"),
    "same call": Case(
        *("cycle_detection", CYCLE, "was called 2 times with the same arguments (limit: 2)"),
        [reads(1)[0]] * 3 + reads(0),
        ("", ""),
        ("cycle_detection: {max_repeats: 2}", "{}"),
    ),
    "same action": going("repeated-identical-action", CYCLE, "aaaa", "alternation_window = 98\nmax_work_units = 99"),
    "alternating": going("alternating-diff-fingerprint", CYCLE, "abab", "identical_actions = 99\nmax_work_units = 99"),
    "work units": going("run-budget-exceeded", BUDGET, "abcdefgh", "max_work_units = 5"),
    "step cap": going("step-cap-exceeded", BUDGET, "abcdefgh", "step_caps = {fixloop = 1}"),
    "max_files": writing("max_files", "[open(f'n{i}', 'w').write('x') for i in range(120)]", "max_files = 200"),
    "max_bytes": writing("max_bytes", "open('big', 'w').write('x\\n' * 3000000)", "max_bytes = 9000000"),
    "binary": writing("binary", "open('a.bin', 'wb').write(bytes(range(256)))", "binary = ['*.bin']"),
    "protected_path": writing(
        *("protected_path", "os.makedirs('.github/workflows'); open('.github/workflows/a.yml', 'w').write('x')"),
        "protected = []",
    ),
    "symlink": writing("symlink", "os.path.lexists('out') or os.symlink('/etc/passwd', 'out')", ""),
    "secret": writing("secret", f"open('key', 'w').write({KEY!r})", "secrets = ['key']"),
}
NOWHERE = {
    *("repeated-identical-action", "alternating-diff-fingerprint", "run-budget-exceeded", "step-cap-exceeded"),
}
"""Rules whose comment has the form of `keel.run-controls.v1`."""
ABSOLUTE = {"symlink"}
"""No setting allows these."""


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as running:
        yield running


def played(here: Installation, model: ScriptedModel, case: Case, *, ruled: bool) -> dict[str, Any]:
    """The run as `agentd once` tells it."""
    config, policy = (pair[0 if ruled else 1] for pair in (case.config, case.policy))
    head = f"verify_command = {json.dumps(case.verify)}\npolicy = 'policy.yaml'\n"
    if isinstance(case.work, str):
        here.agent(case.work)
        profile = f'adapter = "command"\ncommand = ["python3", "{here.folder}/agent.py"]\nprompt = "stdin"\n'
    else:
        model.script("work", case.work)
        here.environ |= {"ANTHROPIC_BASE_URL": model.base_url(PER_PROMPT, "work"), "ANTHROPIC_API_KEY": "practice-key"}
        profile = 'adapter = "builtin"\nmodel = "anthropic:practice"\n'
    if config.startswith("max_steps"):
        profile, config = profile + config, ""
    (here.folder / "policy.yaml").write_text(policy)
    (here.folder / "agentd.toml").write_text(f"{head}{config}\n[profiles.build]\n{profile}")
    here.issue()
    [run] = here.once(check=None)["runs"]
    found: dict[str, Any] = run
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_end_is_an_event_a_span_a_comment_and_a_state(here: Installation, model: ScriptedModel, case: Case) -> None:
    run = played(here, model, case, ruled=True)
    ending = ending_of(case.rule)
    assert run["state"] == ending.state and case.said in run["reason"], run["reason"]
    verdict = "halt" if ending.state == "halted" else "hold"
    told = [(event["data"]["rule_id"], event["data"]["verdict"]) for event in decided(here)]
    assert told.count((case.rule, verdict)) == 1
    shown = json.loads(here.run("runs", "show", run["run_id"], "--json"))
    mode, reason = case.end
    assert (shown["failure_mode"] or None, shown["terminal_reason"]) == (mode, reason)
    root, *others = spans(here, run)
    assert (root.get("agent.failure_mode"), root["agent.terminal_reason"]) == (mode, reason)
    traced = [(each.get("agent.policy.rule_id"), each.get("agentd.verdict.decision")) for each in others]
    assert traced.count((case.rule, verdict)) == 1
    if case.denied:
        assert (case.denied, "deny") in told and (case.denied, "deny") in traced
    [comment] = here.stickies(1)
    assert f"Ended by the rule `{case.rule}`: {f'`{mode}`, ' if mode else ''}`{reason}`." in comment
    assert case.said in comment
    assert (f"{MARKER}\n\n## Run control halt" in comment) == (case.rule in NOWHERE)
    assert here.labels(1) == {"agent-ready", "status:blocked" if ending.state == "halted" else "status:todo"}


@pytest.mark.parametrize("name", [name for name in CASES if name not in ABSOLUTE])
def test_without_its_rule_the_same_run_ends_well(here: Installation, model: ScriptedModel, name: str) -> None:
    run = played(here, model, CASES[name], ruled=False)
    assert run["state"] == "in_review", run["reason"]


def test_no_rule_that_halts_is_forgotten() -> None:
    halting = {rule for rule, ending in ENDINGS.items() if ending.state == "halted"}
    assert {"budget" if case.rule.startswith("budget_") else case.rule for case in CASES.values()} >= halting
