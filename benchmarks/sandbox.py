"""What the sandbox adds to a start, and how fast commands and streams are judged."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from agentd.policy.allowlist import CommandRules
from agentd.sandbox.commands import CommandJudge
from agentd.sandbox.hold import hold
from agentd.sandbox.launch import start
from agentd.sandbox.limits import Limits
from agentd.sandbox.profile import SandboxSpec
from agentd.sandbox.redact import Redactor
from benchmarks.rows import Row

CORPUS = Path(__file__).resolve().parent.parent / "tests" / "policy" / "commands.jsonl"
TIMES = 60


def sandbox_start() -> list[Row]:
    """`true` in a sandbox, beside `true`, and beside `codex sandbox` where it is installed."""
    with tempfile.TemporaryDirectory() as workspace:
        spec = SandboxSpec(Path(workspace))

        def contained() -> None:
            with start(spec, ["true"]) as running:
                running.process.wait()

        bare = _milliseconds(lambda: subprocess.run(["true"], check=True))
        inside = _milliseconds(contained)
        held = _milliseconds(lambda: hold(spec, ["true"], Limits(), lambda data: None))
        note = f"bare spawn takes {bare:.1f} ms"
        if shutil.which("codex"):
            argv = ["codex", "sandbox", "linux", "true"]
            other = _milliseconds(lambda: subprocess.run(argv, cwd=workspace, capture_output=True), 10)
            note += f", codex sandbox {other:.0f} ms"
    return [
        Row("sandbox start", inside - bare, "ms", 20, note),
        Row("sandbox, watched", held - bare, "ms", 30, "with limits and samples, from start to nothing left"),
    ]


def command_policy() -> list[Row]:
    """The corpus, over and over, through the helper process; milliseconds for a thousand lines."""
    commands = [json.loads(line)["cmd"] for line in CORPUS.read_text().strip().split("\n")] * 20
    with CommandJudge(CommandRules()) as judge:
        judge.judge("ls")
        began = time.perf_counter()
        judge.judge_all(commands)
        seconds = time.perf_counter() - began
        alone = _milliseconds(lambda: judge.judge("ls && git status"))
    rate = len(commands) / seconds
    return [
        Row("command policy", 1e6 / rate, "ms/1000", 500, f"{rate:.0f} lines/s"),
        Row("one command", alone, "ms", 20, "parsed by a process of its own"),
    ]


def redaction() -> list[Row]:
    """A log without secrets; milliseconds for a megabyte."""
    line = b"2026-11-21T10:00:00 INFO task-1 building src/module_%d.py https://example.org/a?b=%d done\n"
    data = b"".join(line % (number, number) for number in range(100_000))
    redactor = Redactor([f"secret-{number}-value" for number in range(5)])
    began = time.perf_counter()
    for at in range(0, len(data), 1 << 16):
        redactor.feed(data[at : at + (1 << 16)])
    seconds = time.perf_counter() - began
    megabytes = len(data) / 1e6
    return [Row("redaction", 1e3 * seconds / megabytes, "ms/MB", 25, f"{megabytes / seconds:.0f} MB/s")]


def _milliseconds(act: Callable[[], object], times: int = TIMES) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)
