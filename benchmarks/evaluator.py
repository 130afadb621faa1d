"""What one decision about a tool call takes, beside a function call that does nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from agentd.agents.builtin.program.tools import TOOLS
from agentd.policy.document import gates_of, parse
from agentd.policy.gates import RunMeters, ToolCall, evaluate
from agentd.policy.run_controls import RunControls
from agentd.policy.run_controls import evaluate as control
from benchmarks.rows import Row

TIMES = 20_000
BAR_MICROSECONDS = 50
DOCUMENT = """\
tool_registry: {allowed: [shell, read_file, write_file, edit_file, list_files, report], denied: [fetch]}
url_allowlist: [docs.example, "*.cdn.example"]
sandbox: {paths: [/workspace, /home/agent, /tmp], read_paths: [/workspace, /usr]}
loop_budget: {max_iterations: 100, max_tokens: 1000000, max_cost_usd: 5, max_wall_seconds: 3600}
cycle_detection: {max_repeats: 3}
"""


def decisions() -> list[Row]:
    """A call that every gate lets through, one that the last gate denies, and a run's history of 250 steps."""
    known = frozenset(tool.name for tool in TOOLS)
    gates = gates_of(parse(DOCUMENT, "bench", known), "r", frozenset(), {tool.name: tool.schema for tool in TOOLS})
    path = ("/workspace/src/main.py", "/workspace/src/main.py")
    call = ToolCall("edit_file", {"path": path[0], "old": "a", "new": "b"}, "write", (path,))
    good = RunMeters(iterations=5, tokens=1000, cost_usd=0.5, wall_seconds=60)
    spent = good._replace(wall_seconds=9_999)
    assert evaluate(gates, call, good, "r") is None
    assert evaluate(gates, call, spent, "r") is not None
    history = [{"slot": "tester", "action": str(at), "output_fingerprint": "x"} for at in range(250)]
    controls = RunControls(step_caps={"tester": 250})
    beside = f"a bare call takes {_microseconds(_nothing):.3f} us"
    return [
        Row(
            "evaluator: allow", _microseconds(lambda: evaluate(gates, call, good, "r")), "us", BAR_MICROSECONDS, beside
        ),
        Row(
            "evaluator: deny", _microseconds(lambda: evaluate(gates, call, spent, "r")), "us", BAR_MICROSECONDS, beside
        ),
        Row(
            "run controls, a step", _microseconds(lambda: control(history, controls), 200) / 250, "us", BAR_MICROSECONDS
        ),
    ]


def _nothing() -> None:
    """What it is measured beside."""


def _microseconds(act: Callable[[], object], times: int = TIMES) -> float:
    """Of one call, in the quietest of five rounds."""
    rounds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(times):
            act()
        rounds.append((time.perf_counter() - began) / times)
    return 1e6 * min(rounds)
