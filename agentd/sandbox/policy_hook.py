"""The hook that a coding agent calls before each use of a tool: asks the policy outside, and prints a refusal.

    python -I -S policy_hook.py [SOCKET [SECONDS]] < the agent's JSON

Whatever goes wrong is a refusal, and it exits with 0, by which agents tell a hook that decided from one that failed.
Runs inside, where agentd is not: standard library only.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from typing import Any

SOCKET = "/run/agentd/policy.sock"
SECONDS = 10.0
MAX_BYTES = 1 << 20
"""Of a request; doors.py takes no more."""


class Unjudged(Exception):
    """There is no judgement; the message says why."""


def main(arguments: list[str]) -> None:
    """Prints nothing for a tool call that is allowed."""
    path = arguments[0] if arguments else SOCKET
    seconds = float(arguments[1]) if len(arguments) > 1 else SECONDS
    # One limit for all of it, however slowly either side talks.
    signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        verdict, reason = _judgement(path)
    except Exception as error:
        # Also what nobody thought of: an agent takes a hook that fails for one that has nothing against it.
        verdict, reason = "deny", f"the policy could not be asked: {error or type(error).__name__}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if verdict != "allow":
        decision = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": reason}
        print(json.dumps({"hookSpecificOutput": decision}), flush=True)


def _judgement(path: str) -> tuple[str, str]:
    asked = json.dumps(json.loads(sys.stdin.buffer.read())).encode()
    if len(asked) >= MAX_BYTES:
        raise Unjudged(f"the tool call is longer than {MAX_BYTES} bytes; do it in smaller pieces")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(asked + b"\n")
        with connection.makefile("rb") as stream:
            answer: Any = json.loads(stream.readline(MAX_BYTES))
    if not isinstance(answer, dict) or answer.get("verdict") not in ("allow", "deny"):
        raise Unjudged("its answer is none")
    return answer["verdict"], str(answer.get("reason", ""))


def _late(*_: object) -> None:
    raise TimeoutError("it took too long")


if __name__ == "__main__":
    main(sys.argv[1:])
