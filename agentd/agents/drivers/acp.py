"""Holds a conversation by the Agent Client Protocol, version 1 (agentclientprotocol.com), as the client.

One prompt, answered to its end. The agent asks before it uses a tool, and approval.py answers; where it does not ask,
what it did is judged afterwards, and a run that went past the policy ends with an error.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from .acp_tools import KINDS, output_of, wish_of
from .approval import Judge, Wish
from .files import Outside, read_text, write_text
from .options import Order, order
from .peer import GRACE_SECONDS, METHOD_NOT_FOUND, Gone, Message, Peer, Refused, Stopped, stop_on_signal
from .plugins import refusal as plugin_in
from .telling import Speech, denied, tell

CAPABILITIES = {"fs": {"readTextFile": True, "writeTextFile": True}, "terminal": False}

ENDED = ("completed", "failed")

STOPPED = {
    "max_tokens": ("limit", "the model's answer became too long"),
    "max_turn_requests": ("limit", "its limit of turns is used up"),
    "refusal": ("failed", "the model refused to go on"),
    "cancelled": ("cancelled", "the turn was cancelled"),
}
"""Reasons for which a turn stops before its end: the outcome's kind, and what to say."""


ROUNDS = 10
"""How often an agent that gave up after a refusal is told why and sent on; the protocol itself carries no reason."""

GO_ON = "A tool call was refused by the policy of this run, not by a person:\n{}\nGo on without it, in another way."


class Client:
    """What is known of the one session, and the answers to what the agent asks."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._calls: dict[str, Message] = {}
        self._told: set[str] = set()
        self._answered: list[tuple[Wish, str]] = []
        """What was asked for, and why it was refused. By content: some ask under another id than they act under."""
        self._replaying = False
        self.refused: list[str] = []
        """Reasons that came after the last thing the agent said or did."""
        self.speech = Speech()
        self.bypassed = ""
        self.turn = 0
        """Number of the request that is the turn under way."""

    def replay(self, is_on: bool) -> None:
        """A session that is taken up again tells its whole story first, which is not this run's."""
        self._replaying = is_on

    def handle(self, method: str, params: Message) -> Any:
        """Answer one request or take in one notification. Raises Refused."""
        match method:
            case "session/update":
                if not self._replaying:
                    self._update(params["update"])
                return None
            case "session/request_permission":
                return self._permission(params)
            case "fs/read_text_file":
                return self._read(params)
            case "fs/write_text_file":
                return self._write(params)
        raise Refused(f"{method} is not offered", METHOD_NOT_FOUND)

    def _update(self, update: Message) -> None:
        match update.get("sessionUpdate"):
            case "agent_message_chunk":
                self.refused.clear()
                self.speech.add("text", str(update["content"].get("text", "")))
            case "agent_thought_chunk":
                self.speech.add("thought", str(update["content"].get("text", "")))
            case "tool_call" | "tool_call_update":
                self._tool(update)

    def _tool(self, update: Message) -> None:
        call_id = str(update["toolCallId"])
        call = self._calls.setdefault(call_id, {})
        call |= {name: value for name, value in update.items() if value not in (None, {}, [])}
        status = call.get("status")
        if status in ("in_progress", *ENDED):
            self._tell_call(call_id)
        if status in ENDED:
            del self._calls[call_id]
            answered = next((each for each in self._answered if each[0] == wish_of(call)), None)
            refused = answered[1] if answered else ""
            tell("tool_result", id=call_id, ok=status == "completed" and not refused, output=output_of(call))
            if answered:
                self._answered.remove(answered)
            elif status == "completed":
                # It should have asked. What the policy allows is no harm done.
                self.bypassed = self.bypassed or self._judge.refusal(wish_of(call))

    def _tell_call(self, call_id: str) -> None:
        if call_id in self._told:
            return
        self._told.add(call_id)
        self.refused.clear()
        self.speech.flush()
        call = self._calls[call_id]
        given = call.get("rawInput")
        name, kind = str(call.get("title") or call.get("kind") or "tool"), str(call.get("kind"))
        normalised = "net" if kind == "fetch" else KINDS.get(kind, "other")
        tell("tool_call", id=call_id, name=name, kind=normalised, input=given if isinstance(given, dict) else {})

    def _permission(self, params: Message) -> Message:
        about = params["toolCall"]
        call_id = str(about["toolCallId"])
        news = {name: value for name, value in about.items() if value not in (None, {}, []) and name != "status"}
        call = self._calls.get(call_id, {})
        call |= news
        if call_id in self._calls:
            self._tell_call(call_id)
        reason = self._judge.refusal(wish_of(call))
        self._answered.append((wish_of(call), reason))
        if reason:
            self.speech.flush()
            denied(call_id, reason)
            self.refused.append(reason)
        # Once: what is allowed for ever is not asked about again.
        kinds = ("reject_once", "reject_always") if reason else ("allow_once",)
        options = params.get("options") or []
        chosen = next((each["optionId"] for kind in kinds for each in options if each.get("kind") == kind), None)
        return {"outcome": {"outcome": "cancelled"} if chosen is None else {"outcome": "selected", "optionId": chosen}}

    def _read(self, params: Message) -> Message:
        first, limit = params.get("line"), params.get("limit")
        try:
            return {
                "content": read_text(
                    self._judge.workspace,
                    str(params["path"]),
                    first if isinstance(first, int) else 1,
                    limit if isinstance(limit, int) else None,
                )
            }
        except (Outside, OSError) as error:
            raise Refused(str(error)) from None

    def _write(self, params: Message) -> Message:
        path = str(params["path"])
        reason = self._judge.refusal(Wish(paths=(path,)))
        if reason:
            denied("", reason)
            raise Refused(reason)
        try:
            write_text(self._judge.workspace, path, str(params["content"]))
        except Outside as error:
            denied("", str(error))
            raise Refused(str(error)) from None
        except OSError as error:
            raise Refused(str(error)) from None
        return {}


def main(arguments: list[str]) -> int:
    """Hold the conversation; the exit status is 0 when the turn came to its end, 143 when it was stopped."""
    asked = order(arguments)
    stop_on_signal()
    client = Client(asked.judge)
    if reason := plugin_in(asked.argv[0], asked.workspace):
        tell("error", kind="failed", message=reason)
        return 1
    with Peer(asked.argv, client.handle) as peer:
        session = ""
        try:
            session = _session(peer, client, asked)
            tell("started", session_id=session, model=asked.model)
            return _turns(peer, client, session, asked.prompt)
        except Refused as refusal:
            client.speech.flush()
            tell("error", kind="failed", message=_said(refusal), from_text=True)
        except Gone as gone:
            client.speech.flush()
            tell("error", kind="failed", message=str(gone), retryable=True)
        except Stopped:
            if session:
                with suppress(Refused, Gone, TimeoutError):
                    peer.notify("session/cancel", {"sessionId": session})
                    peer.answer_to(client.turn, GRACE_SECONDS)
            client.speech.flush()
            tell("error", kind="cancelled", message="stopped by a signal", retryable=True)
            return 143
    return 1


def _session(peer: Peer, client: Client, asked: Order) -> str:
    """The session's id: of a new one, or of the one to take up again. Raises Refused, Gone, Stopped."""
    offered = peer.request("initialize", {"protocolVersion": 1, "clientCapabilities": CAPABILITIES})
    place = {"cwd": asked.workspace, "mcpServers": []}
    if asked.resume:
        if not (offered.get("agentCapabilities") or {}).get("loadSession"):
            raise Refused("the agent cannot take up an earlier session")
        client.replay(True)
        peer.request("session/load", {"sessionId": asked.resume, **place})
        client.replay(False)
        session = asked.resume
    else:
        session = str(peer.request("session/new", place).get("sessionId", ""))
    if asked.model:
        peer.request("session/set_model", {"sessionId": session, "modelId": asked.model})
    return session


def _turns(peer: Peer, client: Client, session: str, prompt: str) -> int:
    """The prompt, and where the agent gave up after a refusal, the word to go on. Raises Refused, Gone, Stopped."""
    reason = ""
    for _ in range(ROUNDS):
        said = [{"type": "text", "text": prompt}]
        client.turn = peer.ask("session/prompt", {"sessionId": session, "prompt": said})
        result = peer.answer_to(client.turn)
        client.speech.flush()
        _tell_usage(result.get("usage"))
        reason = str(result.get("stopReason"))
        if reason not in ("end_turn", "cancelled") or not client.refused:
            break
        prompt = GO_ON.format("\n".join(client.refused))
        client.refused.clear()
    return _end(client, reason)


def _tell_usage(usage: Any) -> None:
    if isinstance(usage, dict):
        tell(
            "usage",
            input_tokens=usage.get("inputTokens"),
            output_tokens=usage.get("outputTokens"),
            cached_tokens=usage.get("cachedReadTokens"),
            reasoning_tokens=usage.get("thoughtTokens"),
        )


def _end(client: Client, reason: str) -> int:
    if client.bypassed:
        message = f"the agent did not ask before it used a tool that the policy refuses: {client.bypassed}"
        tell("error", kind="failed", message=message)
        return 1
    if reason == "end_turn":
        tell("final", text=client.speech.last)
        return 0
    kind, message = STOPPED.get(reason, ("failed", f"the turn stopped: {reason}"))
    tell("error", kind=kind, message=message)
    return 1


def _said(refusal: Refused) -> str:
    """The message, with what an agent puts beside it: often only there stands what the model's service said."""
    more = refusal.data
    told = more.get("message") or more.get("details") or more if isinstance(more, dict) else more
    return f"{refusal}: {told}" if told else str(refusal)
