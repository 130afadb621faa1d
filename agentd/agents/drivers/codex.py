"""Holds a conversation with `codex app-server` (0.169): one turn on one thread, every approval answered here.

Codex runs commands that it knows to be harmless without asking; what it did without asking is judged afterwards, and a
run that went past the policy ends with an error.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import replace
from typing import Any

from .approval import Judge, Wish
from .options import Order, order
from .peer import GRACE_SECONDS, METHOD_NOT_FOUND, Gone, Message, Peer, Refused, Stopped, stop_on_signal
from .telling import denied, tell

CLIENT = {"name": "agentd", "title": "agentd", "version": "1"}
QUIET = ("userMessage", "hookPrompt", "plan", "contextCompaction", "sleep")
"""Items that are no news."""


class Client:
    """What is known of the one turn, and the answers to what codex asks. Its subagents are threads beside it."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._items: dict[str, Message] = {}
        self._asked: set[str] = set()
        self._retries = 0
        self.said = ""
        self.bypassed = ""
        self._turns: set[str] = set()
        """turns that began in this run, those of subagents too"""
        self.thread = ""
        self.turn = ""
        self.ended: Message | None = None
        """the turn as codex gave it at its end"""

    def handle(self, method: str, params: Message) -> Any:
        """Answer one request or take in one notification. Raises Refused."""
        match method:
            case "item/commandExecution/requestApproval":
                if params.get("networkApprovalContext"):
                    return self._decision(params, Wish(is_fetch=True))
                known = self._items.get(str(params["itemId"]), {})
                command = params.get("command") or known.get("command")
                return self._decision(params, Wish(_words(command), is_command=True))
            case "item/fileChange/requestApproval":
                patch = _patch(self._items.get(str(params["itemId"]), {}))
                more = (str(params["grantRoot"]),) if params.get("grantRoot") else ()
                return self._decision(params, replace(patch, paths=(*patch.paths, *more)))
            case "item/started":
                self._begun(params["item"])
            case "item/completed":
                self._finished(params["item"], self._is_own(params))
            case "turn/started":
                self._turns.add(str(params["turn"]["id"]))
            case "thread/tokenUsage/updated":
                self._usage(params)
            case "error":
                self._error(params)
            case "turn/completed" if self._is_own(params):
                self.ended = params["turn"]
            case _ if method.endswith(("requestApproval", "Approval", "requestUserInput", "request", "tool/call")):
                raise Refused(f"{method} is not offered", METHOD_NOT_FOUND)
        return None

    def _is_own(self, params: Message) -> bool:
        """Whether it is of the thread itself, not of a subagent's."""
        return str(params.get("threadId", self.thread)) == self.thread

    def _decision(self, params: Message, wish: Wish) -> Message:
        item = str(params["itemId"])
        self._asked.add(item)
        reason = self._judge.refusal(wish)
        if reason:
            denied(item, reason)
        return {"decision": "decline" if reason else "accept"}

    def _begun(self, item: Message) -> None:
        self._items[str(item["id"])] = item
        match item["type"]:
            case "commandExecution":
                tell("tool_call", id=item["id"], name="shell", kind="shell", input={"command": item["command"]})
            case "fileChange":
                tell("tool_call", id=item["id"], name="file_change", kind="edit", input={"changes": item["changes"]})
            case "mcpToolCall" | "dynamicToolCall" | "webSearch":
                kind = "net" if item["type"] == "webSearch" else "other"
                tell("tool_call", id=item["id"], name=str(item.get("tool") or item["type"]), kind=kind, input={})

    def _finished(self, item: Message, is_own: bool) -> None:
        kind, item_id = item["type"], str(item["id"])
        if kind == "agentMessage":
            self.said = str(item["text"]) if is_own else self.said
            tell("text", text=str(item["text"]))
        elif kind == "reasoning":
            thought = "\n".join(map(str, item.get("summary") or item.get("content") or ()))
            if thought:
                tell("thought", text=thought)
        elif kind not in QUIET:
            if item_id not in self._items:
                self._begun(item)
            done = item.get("status", "completed") == "completed" and not item.get("exitCode")
            tell("tool_result", id=item_id, ok=done, output=str(item.get("aggregatedOutput") or ""))
            if item_id not in self._asked and item.get("status") == "completed":
                wish = _patch(item) if kind == "fileChange" else Wish()
                if kind == "commandExecution":
                    wish = Wish(_words(item.get("command")), is_command=True)
                self.bypassed = self.bypassed or self._judge.refusal(wish)

    def _usage(self, params: Message) -> None:
        """Of the last call of the model; what is told of earlier turns is not this run's."""
        if params.get("turnId") not in (self.turn, *self._turns):
            return
        last = params["tokenUsage"]["last"]
        tell(
            "usage",
            input_tokens=last.get("inputTokens"),
            output_tokens=last.get("outputTokens"),
            cached_tokens=last.get("cachedInputTokens"),
            reasoning_tokens=last.get("reasoningOutputTokens"),
        )

    def _error(self, params: Message) -> None:
        if params.get("willRetry"):
            self._retries += 1
            tell("retry", attempt=self._retries, status=_status(params["error"]))


def main(arguments: list[str]) -> int:
    """Hold the conversation; the exit status is 0 when the turn came to its end, 143 when it was stopped."""
    asked = order(arguments)
    stop_on_signal()
    client = Client(asked.judge)
    with Peer(asked.argv, client.handle) as peer:
        thread = ""
        try:
            thread = client.thread = _thread(peer, asked)
            tell("started", session_id=thread, model=asked.model)
            words = [{"type": "text", "text": asked.prompt}]
            begun = peer.request("turn/start", {"threadId": thread, "input": words})
            client.turn = str(begun["turn"]["id"])
            peer.pump(lambda: client.ended is not None)
            return _end(client)
        except Refused as refusal:
            tell("error", kind="failed", message=str(refusal), from_text=True)
        except Gone as gone:
            tell("error", kind="failed", message=str(gone), retryable=True)
        except (KeyError, TypeError):
            tell("error", kind="failed", message="codex answered in a way that this version does not know")
        except Stopped:
            with suppress(Refused, Gone, TimeoutError):
                if client.turn:
                    number = peer.ask("turn/interrupt", {"threadId": thread, "turnId": client.turn})
                    peer.answer_to(number, GRACE_SECONDS)
            tell("error", kind="cancelled", message="stopped by a signal", retryable=True)
            return 143
    return 1


def _thread(peer: Peer, asked: Order) -> str:
    """The thread's id: of a new one, or of the one to take up again. Raises Refused, Gone, Stopped."""
    peer.request("initialize", {"clientInfo": CLIENT, "capabilities": None})
    peer.notify("initialized")
    params: Message = {"cwd": asked.workspace, "approvalPolicy": "untrusted", "sandbox": asked.sandbox}
    if asked.model:
        params["model"] = asked.model
    if asked.resume:
        # Without what was said before: it is long, and not this run's.
        peer.request("thread/resume", {"threadId": asked.resume, "excludeTurns": True, **params})
        return asked.resume
    return str(peer.request("thread/start", params)["thread"]["id"])


def _end(client: Client) -> int:
    ended = client.ended or {}
    if client.bypassed:
        message = f"codex did not ask before it used a tool that the policy refuses: {client.bypassed}"
        tell("error", kind="failed", message=message)
        return 1
    if ended.get("status") == "completed":
        tell("final", text=client.said)
        return 0
    if ended.get("status") == "interrupted":
        tell("error", kind="cancelled", message="the turn was interrupted", retryable=True)
        return 1
    error = ended.get("error") or {}
    status = _status(error)
    said = " ".join(str(part) for part in (error.get("message"), error.get("additionalDetails")) if part)
    tell("error", kind="failed", message=f"status {status}: {said}" if status else said, from_text=True, retryable=True)
    return 1


def _status(error: Message) -> int | None:
    """The HTTP status in an error, which stands one level down under the error's name."""
    info = error.get("codexErrorInfo")
    for value in info.values() if isinstance(info, dict) else ():
        if isinstance(value, dict) and isinstance(value.get("httpStatusCode"), int):
            return int(value["httpStatusCode"])
    return {"unauthorized": 401, "usageLimitExceeded": 429, "rateLimitExceeded": 429}.get(str(info))


def _words(command: Any) -> list[str] | str | None:
    """The words of a command line, so that the shell codex puts before it is told from what it runs."""
    if not isinstance(command, str):
        return command if isinstance(command, list) else None
    try:
        return shlex.split(command)
    except ValueError:
        return command


def _patch(item: Message) -> Wish:
    """What a patch writes; where that is not known it is judged as a command that was not told."""
    changes = [change for change in item.get("changes") or () if isinstance(change, dict)]
    paths = [str(change["path"]) for change in changes]
    kinds = [change["kind"] for change in changes if isinstance(change.get("kind"), dict)]
    paths += [str(kind["move_path"]) for kind in kinds if kind.get("move_path")]
    return Wish(paths=tuple(paths), is_command=not paths)
