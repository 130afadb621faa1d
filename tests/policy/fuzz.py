"""Mutated commands against real shells: what the policy allows must not run a program that is not on the list.

Every allowed line is run by bash and by dash in a sandbox where each unlisted program is a canary, and where the
listed ones that are opaque (git, npm, node, python3, script files) do nothing.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from agentd.policy.allowlist import DEFAULT, CommandRules
from agentd.sandbox.commands import CommandJudge
from agentd.sandbox.launch import start
from agentd.sandbox.profile import Mount, SandboxSpec

CORPUS = Path(__file__).with_name("commands.jsonl")
PIECES = (
    *(";", "&&", "||", "|", "&", "\n", "\\\n", "$(", ")", "`", "'", '"', "\\", "$", "${", "}", "{", "(", "<<"),
    *("<<'E'\n", "\nE\n", "E", ">", ">>", "<", "<(", "2>&1", "#", " ", "\t", "$'", '$"', "\\'", "!", "[[", "]]"),
    *("if ", "; then ", "; fi", "; do ", "; done", "for x in ", "case a in a) ", ";; esac", "=", "~", "*", "curl x"),
    *("ls", "cat", "eval ", "bash -c ", "-c", "sh -c '", "X=", "time ", "|&", "&>", "<<<", "$((", "))", "@("),
    *("${x:-", "-", "--", "\\\n\\\n", "xargs ", "env ", "a"),
)
CANARIES = (
    *("curl", "sed", "tee", "awk", "find", "xargs", "env", "ssh", "sudo", "nohup", "tsc", "evil", "id", "wget", "e"),
    *("python2", "python3.11", "timeout", "make", "vi", "less", "E", "EOF", "x", "a", "b", "f"),
)
OPAQUE = ("git", "npm", "npx", "pnpm", "node", "python3", "time")
"""`time` is a word of bash's grammar and a program for dash."""
SHELL = """#!/bin/sh
# A script file is opaque and does nothing; a text and standard input are run.
for word in "$@"; do
    case $word in --*) ;; -*c*) exec %s "$@" ;; -*) ;; *) exit 0 ;; esac
done
exec %s "$@"
"""
DRIVER = Path(__file__).with_name("fuzz_driver.py")


@dataclass(frozen=True)
class Outcome:
    """What a round of fuzzing found."""

    lines: int
    allowed: int
    escaped: tuple[tuple[str, str, str], ...]
    """line, shell, what it ran"""


def mutations(count: int, seed: int) -> list[str]:
    """Lines made from the corpus by cutting, joining, moving and inserting."""
    chance = random.Random(seed)
    seeds = [json.loads(line)["cmd"] for line in CORPUS.read_text().strip().split("\n")]
    lines = []
    while len(lines) < count:
        line = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5))):
            at, upto = sorted(chance.randrange(len(line) + 1) for _ in range(2))
            other = chance.choice(seeds)
            cut = chance.randrange(len(other) + 1)
            line = chance.choice(
                (
                    line[:at] + chance.choice(PIECES) + line[at:],
                    line[:at] + chance.choice(PIECES) + line[upto:],
                    line[:at] + line[upto:],
                    line[:at] + other[cut:],
                    line[:at] + other + line[at:],
                    line + chance.choice((" ", "\n", "; ", " && ", " | ", "\\\n")) + other,
                    line[:upto] + line[at:],
                )
            )
        lines.append(line[:400])
    return lines


def fuzz(count: int, seed: int, folder: Path) -> Outcome:
    """Judge so many lines, and run what is allowed. `folder` is empty."""
    lines = mutations(count, seed)
    with CommandJudge(CommandRules()) as judge:
        answers = judge.judge_all(lines)
    allowed = [line for line, answer in zip(lines, answers, strict=True) if answer.verdict == "allow"]
    return Outcome(len(lines), len(allowed), tuple(run(allowed, folder)))


def run(lines: list[str], folder: Path) -> list[tuple[str, str, str]]:
    """The lines that ran something unlisted, by which shell, and what."""
    programs, workspace = folder / "programs", folder / "workspace"
    for each in (programs, workspace):
        each.mkdir()
    for name in (*CANARIES, *OPAQUE, "bash", "sh"):
        says = "#!/bin/sh\nexit 0\n" if name in OPAQUE else f"#!/bin/sh\necho {name} >> /tmp/ran\n"
        if name in ("bash", "sh"):
            real = {"bash": "/usr/bin/bash", "sh": "/usr/bin/dash"}[name]
            says = SHELL % (real, real)
        (programs / name).write_text(says)
        (programs / name).chmod(0o755)
    for name in set(DEFAULT) - {*OPAQUE, "bash", "sh", "cd", "pwd"}:
        (programs / name).symlink_to(f"/usr/bin/{name}")
    (workspace / "lines.json").write_text(json.dumps(lines))
    (workspace / "driver.py").write_text(DRIVER.read_text())
    prefix = Path(sys.executable).resolve().parent.parent
    mounts = [Mount(programs, "/opt/programs")] + ([Mount(prefix, str(prefix))] if prefix != Path("/usr") else [])
    spec = SandboxSpec(workspace, mounts=tuple(mounts))
    python = str(Path(sys.executable).resolve())
    with start(spec, [python, "-I", "/workspace/driver.py"]) as contained:
        said = contained.process.communicate(timeout=1800)[0]
    return [(line, shell, what) for line, shell, what in json.loads(said.splitlines()[-1])]
