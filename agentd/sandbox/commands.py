"""Judging commands through the helper process. Whatever goes wrong is a refusal."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from types import TracebackType

from agentd.policy.allowlist import CommandRules
from agentd.policy.judgement import Dialect, Judgement
from agentd.sandbox.shfmt import find_shfmt

BATCH = 256
TIMEOUT_SECONDS = 5.0
"""For a batch; a single command that takes longer is refused."""


class CommandJudge:
    """A helper process, started when it is needed and again after it failed. A context manager."""

    def __init__(
        self, rules: CommandRules, dialect: Dialect = "bash", timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._rules = rules
        self._dialect = dialect
        self._timeout_seconds = timeout_seconds
        self._shfmt = find_shfmt()
        self._helper: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def judge(self, command: str) -> Judgement:
        """The judgement of one command; never raises for what a command says."""
        answers = self._ask([command])
        return answers[0] if answers else Judgement("deny", "it took too long or too much to judge; simplify it")

    def judge_all(self, commands: list[str]) -> list[Judgement]:
        """One judgement a command, in order; a batch that fails is judged one by one."""
        batches = (commands[at : at + BATCH] for at in range(0, len(commands), BATCH))
        return [answer for batch in batches for answer in self._ask(batch) or map(self.judge, batch)]

    def _ask(self, commands: list[str]) -> list[Judgement] | None:
        """None when the helper did not answer in time, died, or said what cannot be read."""
        rules = self._rules
        asked = {"allowed": sorted(rules.allowed), "inert": rules.inert, "workspace": rules.workspace}
        question = json.dumps({**asked, "dialect": self._dialect, "commands": commands}) + "\n"
        try:
            connection = self._connection()
            connection.sendall(question.encode())
            said = b""
            while not said.endswith(b"\n"):
                received = connection.recv(1 << 16)
                if not received:
                    raise EOFError
                said += received
            answers = [Judgement(verdict, reason) for verdict, reason in json.loads(said)]
        except (OSError, EOFError, ValueError, TypeError):
            self.close()
            return None
        return answers if len(answers) == len(commands) else None

    def _connection(self) -> socket.socket:
        if self._helper is None:
            ours, theirs = socket.socketpair()
            ours.settimeout(self._timeout_seconds)
            argv = [sys.executable, "-I", "-m", "agentd.sandbox.command_helper", self._shfmt]
            with theirs:
                nothing = subprocess.DEVNULL
                process = subprocess.Popen(argv, stdin=theirs.fileno(), stdout=nothing, stderr=nothing, env={})
            self._helper = process, ours
        return self._helper[1]

    def close(self) -> None:
        """End the helper."""
        if self._helper is not None:
            process, connection = self._helper
            self._helper = None
            connection.close()
            process.kill()
            process.wait()

    def __enter__(self) -> CommandJudge:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
