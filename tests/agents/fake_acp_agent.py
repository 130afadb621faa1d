"""An agent that speaks the Agent Client Protocol and does what a script says, one JSON action a line.

python fake_acp_agent.py SCRIPT LOG      LOG gets every message that came, one a line

{"ask": {"id", "kind", "input"}}             request a permission, and act on it only when it was given
{"call": {"id", "kind", "input", "status"}}  report a tool call
{"fs": [method, params]}                     call the client
{"say": text}, {"stop": reason}, {"fail": message}, {"raw": text}, {"exit": status}, {"hang": true}
A turn ends with "stop"; the next prompt goes on behind it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

ACTIONS = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
LOG = Path(sys.argv[2])
OPTIONS = [{"optionId": name, "name": name, "kind": name} for name in ("allow_once", "allow_always", "reject_once")]
asked = 0


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def receive() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    with LOG.open("a") as log:
        log.write(line)
    message: dict[str, Any] = json.loads(line)
    return message


def update(**fields: Any) -> None:
    send({"method": "session/update", "params": {"sessionId": "s1", "update": fields}})


def say(text: str) -> None:
    update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": text})


def call(method: str, params: dict[str, Any]) -> dict[str, Any]:
    global asked
    asked += 1
    send({"id": f"agent-{asked}", "method": method, "params": {"sessionId": "s1", **params}})
    while (answer := receive()).get("id") != f"agent-{asked}":
        pass
    return answer


def turn(number: Any) -> None:
    while ACTIONS:
        [(name, value)] = ACTIONS.pop(0).items()
        match name:
            case "ask":
                about = {"toolCallId": value["id"], "kind": value.get("kind"), "rawInput": value.get("input")}
                outcome = call("session/request_permission", {"toolCall": about, "options": OPTIONS})
                if outcome["result"]["outcome"].get("optionId") == "allow_once" and "command" in value["input"]:
                    Path("ran.txt").write_text(str(value["input"]["command"]))
            case "call":
                shown = {"toolCallId": value["id"], "kind": value.get("kind"), "rawInput": value.get("input")}
                update(sessionUpdate="tool_call", title="a tool", status=value.get("status", "completed"), **shown)
            case "fs":
                call(*value)
            case "say":
                say(value)
            case "raw":
                sys.stdout.write(value + "\n")
            case "stop":
                send({"id": number, "result": {"stopReason": value, "usage": {"inputTokens": 7, "outputTokens": 3}}})
                return
            case "fail":
                send({"id": number, "error": {"code": -32603, "message": "Internal error", "data": {"details": value}}})
                return
            case "exit":
                sys.exit(value)
            case "hang":
                while True:
                    time.sleep(60)


while True:
    message = receive()
    match message.get("method"):
        case "initialize":
            send({"id": message["id"], "result": {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}}})
        case "session/new":
            send({"id": message["id"], "result": {"sessionId": "s1"}})
        case "session/load":
            say("what was said long ago")
            send({"id": message["id"], "result": None})
        case "session/prompt":
            turn(message["id"])
