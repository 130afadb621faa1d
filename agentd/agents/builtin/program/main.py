"""The command: the prompt by standard input, one JSON event a line on standard output.

Beside the events of the run there are lines of three other types: `started` (the session), `usage`, `retry`.
Exit status 0 after a final report, 1 after an error, 2 for arguments that cannot be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Any

from .backends import BACKENDS
from .events import FinalReport, to_json
from .exchange import WAITS_SECONDS, Endpoint
from .loop import CONTEXT_TOKENS, MAX_STEPS, Work, run_agent

ADDRESSES = {
    "messages": ("ANTHROPIC_BASE_URL", "https://api.anthropic.com", ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")),
    "chat": ("OPENAI_BASE_URL", "https://api.openai.com/v1", ("OPENAI_API_KEY",)),
}
"""Of each dialect: the variable of the address, the address without it, the variables of the key."""
SESSIONS = ".agentd-builtin"
"""Folder of the sessions, in HOME."""
SESSION = re.compile(r"[0-9a-z-]{1,64}")


def main(arguments: list[str]) -> int:
    """Run to the end; the exit status."""
    asked = _parser().parse_args(arguments)
    return asyncio.run(_run(asked, sys.stdin.read()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agentd-builtin", description="Reads a task from standard input, does it.")
    parser.add_argument("--dialect", choices=sorted(BACKENDS), required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--max-steps", type=int, default=MAX_STEPS)
    parser.add_argument("--context-tokens", type=int, default=CONTEXT_TOKENS)
    parser.add_argument("--resume", type=_session, metavar="SESSION")
    parser.add_argument("--waits", type=_waits, default=WAITS_SECONDS, metavar="JSON", help="seconds between tries")
    parser.add_argument("--hook", type=json.loads, default=[], metavar="JSON", help="argv of the judge, a JSON list")
    return parser


def _waits(text: str) -> tuple[float, ...]:
    return tuple(float(each) for each in json.loads(text))


def _session(name: str) -> str:
    if not SESSION.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{name!r} is no session")
    return name


async def _run(asked: argparse.Namespace, prompt: str) -> int:
    variable, address, keys = ADDRESSES[asked.dialect]
    key = next((os.environ[name] for name in keys if os.environ.get(name)), "")
    session = asked.resume or secrets.token_hex(8)
    work = Work(
        prompt=prompt,
        folder=Path.cwd(),
        endpoint=Endpoint(os.environ.get(variable) or address, key, asked.model),
        dialect=asked.dialect,
        session=Path(os.environ["HOME"]) / SESSIONS / f"{session}.json",
        hook=tuple(asked.hook),
        waits_seconds=tuple(asked.waits),
        max_steps=asked.max_steps,
        context_tokens=asked.context_tokens,
        noted=_print,
    )
    _print("started", {"session": session, "model": asked.model})
    last = None
    async for event in run_agent(work):
        last = event
        told = to_json(event)
        _print(told["type"], told["data"])
    return 0 if isinstance(last, FinalReport) else 1


def _print(kind: str, data: dict[str, Any]) -> None:
    print(json.dumps({"type": kind, "data": data}), flush=True)
