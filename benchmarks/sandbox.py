"""What the sandbox adds to a start, and how fast commands and streams are judged, each beside what others take."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from agentd.policy.allowlist import CommandRules
from agentd.sandbox.commands import CommandJudge
from agentd.sandbox.launch import start
from agentd.sandbox.profile import SandboxSpec
from agentd.sandbox.redact import Redactor
from agentd.sandbox.shfmt import find_shfmt
from benchmarks.rows import Row

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "policy" / "commands.jsonl"
TIMES = 60
PEER_TIMES = 10
"""For what takes much longer."""
PEER_SECONDS, PEER_BYTES = 30, 1_000_000_000
ROUNDS = 5
LOG_LINES = 100_000
BASHLEX = """
import bashlex, json, sys, time

commands, refused, began = json.load(sys.stdin), 0, time.perf_counter()
for command in commands:
    try:
        bashlex.parse(command)
    except Exception:
        refused += 1
rate = len(commands) / (time.perf_counter() - began)
print(f"{rate:.0f} lines/s and cannot read {refused / len(commands):.0%}")
"""


def sandbox_start() -> list[Row]:
    """`true` in a sandbox less `true` alone, beside `codex sandbox true` where that is installed."""
    with tempfile.TemporaryDirectory() as workspace, tempfile.TemporaryDirectory(dir="/var/tmp") as codex_home:
        spec = SandboxSpec(Path(workspace))

        def contained() -> None:
            with start(spec, ["true"]) as running:
                assert running.process.wait() == 0

        # In turn, so that whatever else the machine does falls on both.
        bare, inside = _in_turn(lambda: subprocess.run(["true"], check=True), contained)
        note = f"bare spawn {bare:.1f} ms, codex sandbox "
        codex = _codex()
        if codex is None:
            note += "not installed"
        else:
            # It refuses its helper programs below /tmp.
            env = {**os.environ, "CODEX_HOME": codex_home}
            other = _milliseconds(lambda: _quiet([codex, "sandbox", "true"], workspace, env), PEER_TIMES)
            note += f"{other:.0f} ms"
    return [Row("sandbox start", inside - bare, "ms", 20, note)]


def command_policy() -> list[Row]:
    """The corpus of the tests, over and over, through the helper process; milliseconds for a thousand lines."""
    corpus = [json.loads(line)["cmd"] for line in CORPUS.read_text().strip().split("\n")]
    commands = corpus * 5
    with CommandJudge(CommandRules()) as judge:
        judge.judge("ls")
        rate = 1000 * len(commands) / _milliseconds(lambda: judge.judge_all(commands), ROUNDS)
        alone = _milliseconds(lambda: judge.judge("ls && git status"))
    parse = [find_shfmt(), "--to-json"]
    line = b"ls && git status\n"
    spawn = _milliseconds(lambda: subprocess.run(parse, input=line, stdout=subprocess.DEVNULL, check=True))
    note = f"{rate:.0f} lines/s; bashlex, which only parses, {_bashlex_rate(corpus)}"
    return [
        Row("command policy", 1e6 / rate, "ms/1000", 500, note),
        Row("one command", alone, "ms", 20, f"shfmt spawned bare {spawn:.1f} ms, {1000 / spawn:.0f} lines/s"),
    ]


def redaction() -> list[Row]:
    """A log without secrets, in the pieces that a pipe gives; milliseconds for a megabyte."""
    line = b"2026-11-21T10:00:00 INFO task-1 building src/module_%d.py https://example.org/a?b=%d done\n"
    data = b"".join(line % (number, number) for number in range(LOG_LINES))
    pieces = [data[at : at + (1 << 16)] for at in range(0, len(data), 1 << 16)]
    megabytes = len(data) / 1e6

    def redacted() -> None:
        redactor = Redactor([f"secret-{number}-value" for number in range(5)])
        assert sum(len(redactor.feed(piece)) for piece in pieces) + len(redactor.flush()) == len(data)

    rate = 1000 * megabytes / _milliseconds(redacted, ROUNDS)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        copy = _milliseconds(lambda: [bytes(bytearray(piece)) for piece in pieces], PEER_TIMES)
        count = ["grep", "-cE", r"ghp_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16}|secret-[0-4]-value", file.name]
        grep = _milliseconds(lambda: _quiet(count, None, {"LC_ALL": "C", "PATH": os.defpath}, 1), PEER_TIMES)
    note = f"{rate:.0f} MB/s; grep -cE of 3 patterns {1000 * megabytes / grep:.0f} MB/s, "
    note += f"copying the bytes {1000 * megabytes / copy:.0f} MB/s"
    return [Row("redaction", 1e3 / rate, "ms/MB", 25, note)]


def _codex() -> str | None:
    """Where scripts/install-agents puts it, else on PATH."""
    installed = Path(os.environ.get("AGENTD_AGENTS_DIR", ROOT / ".agents")) / "bin" / "codex"
    return str(installed) if installed.exists() else shutil.which("codex")


def _bashlex_rate(commands: list[str]) -> str:
    """In a process with limits, since it loops for ever on some lines and eats memory; "not installed" without it."""
    limits = ["prlimit", f"--as={PEER_BYTES}", f"--cpu={PEER_SECONDS}"]
    done = subprocess.run(
        [*limits, sys.executable, "-c", BASHLEX], input=json.dumps(commands), capture_output=True, text=True
    )
    return done.stdout.strip() or f"gives none ({(done.stderr.strip() or 'too slow').splitlines()[-1]})"


def _quiet(argv: list[str], folder: str | None, env: dict[str, str], status: int = 0) -> None:
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == status, done.stderr


def _in_turn(*acts: Callable[[], object]) -> list[float]:
    taken: list[list[float]] = [[] for _ in acts]
    for _ in range(TIMES):
        for act, times in zip(acts, taken, strict=True):
            began = time.perf_counter()
            act()
            times.append(1000 * (time.perf_counter() - began))
    return [statistics.median(times) for times in taken]


def _milliseconds(act: Callable[[], object], times: int = TIMES) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)
