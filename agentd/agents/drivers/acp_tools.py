"""Tool calls of the Agent Client Protocol: what they would do, and what they gave back."""

from __future__ import annotations

from .approval import Wish
from .peer import Message

KINDS = {"execute": "shell", "edit": "edit", "delete": "edit", "move": "edit", "read": "read", "search": "read"}
"""The protocol's kinds of tools in agentd's words; the others are "other", or "net"."""

HARMLESS = ("read", "search", "think", "switch_mode")
"""Kinds that neither run nor write anything; "other" may be anything, leaving the workspace for one."""

PATH_FIELDS = ("filePath", "file_path", "path", "filepath", "absolute_path")


def wish_of(call: Message) -> Wish:
    """What the tool call would do."""
    given = call.get("rawInput")
    fields = given if isinstance(given, dict) else {}
    kind = call.get("kind")
    if kind == "fetch":
        return Wish(is_fetch=True)
    command = fields.get("command", fields.get("cmd"))
    if kind == "execute" or command:
        return Wish(command if isinstance(command, (str, list)) else None, is_command=True)
    if kind in HARMLESS:
        return Wish()
    named = [fields.get(name) for name in PATH_FIELDS]
    named += [place.get("path") for place in call.get("locations") or () if isinstance(place, dict)]
    return Wish(paths=tuple(dict.fromkeys(str(path) for path in named if path)))


def output_of(call: Message) -> str:
    """The text that the tool gave back."""
    parts = [part.get("content") for part in call.get("content") or () if isinstance(part, dict)]
    texts = [str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part]
    return "\n".join(texts) or str(call.get("rawOutput") or "")
