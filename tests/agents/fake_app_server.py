"""A `codex app-server` that does what a script says, one JSON message a line; the turn ends after the last.

python fake_app_server.py SCRIPT LOG      LOG gets the answers to what it asks, one a line
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ACTIONS = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def turn() -> None:
    for number, action in enumerate(ACTIONS):
        if "asks" in action:
            send({"id": 1000 + number, "method": action["asks"], "params": action["params"]})
            with Path(sys.argv[2]).open("a") as log:
                log.write(sys.stdin.readline())
        else:
            send(action)
    send({"method": "turn/completed", "params": {"turn": {"id": "u1", "status": "completed"}}})


for line in sys.stdin:
    message = json.loads(line)
    match message.get("method"):
        case "initialize":
            send({"id": message["id"], "result": {}})
        case "thread/start":
            send({"id": message["id"], "result": {"thread": {"id": "t1"}}})
        case "turn/start":
            send({"id": message["id"], "result": {"turn": {"id": "u1"}}})
            turn()
