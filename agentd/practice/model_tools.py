"""From a script's step to a call of the tool that this agent offers: every agent names its shell differently."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from agentd.practice.model_script import Step, Usage, fill

SHELL_TOOLS = ("bash", "exec_command", "execute", "run_shell_command", "shell", "shell_command", "local_shell", "exec")
WRITE_TOOLS = ("write", "write_file", "create_file")
COMMAND_FIELDS = ("command", "cmd", "script")
PATH_FIELDS = ("file_path", "filePath", "path", "filename")
CONTENT_FIELDS = ("content", "contents", "text", "file_text")

_WORKING_DIRECTORY = re.compile(
    r"<cwd>([^<\n]+)</cwd>|(?:[Ww]orking directory(?: is)?|operating in):? `?(/[^\s`\"\\<]+)"
)


@dataclass(frozen=True)
class Tool:
    """A tool as the agent offered it; `schema` is the JSON Schema of its input."""

    name: str
    schema: Mapping[str, Any]
    code: bool = False
    """It takes JavaScript that calls the other tools (codex's `exec`) in place of fields."""


@dataclass(frozen=True)
class Call:
    """A tool call the model makes."""

    name: str
    input: Mapping[str, Any]
    source: str | None = None
    """The program, for a tool that takes code; `input` is empty then."""


@dataclass(frozen=True)
class Reply:
    """One answer of the model before it is put in a dialect."""

    text: str
    thinking: str
    calls: tuple[Call, ...]
    usage: Usage


class NoSuchTool(Exception):
    """The step needs a tool that the agent does not offer; the message names both."""


def reply_for(step: Step, tools: Sequence[Tool], body_text: str) -> Reply:
    """The reply a `text`, `shell`, `write` or `call` step means for an agent that offers `tools`.

    `body_text` is the request as text; the agent's working directory is looked up in it. Raises NoSuchTool.
    """
    directory = working_directory(body_text)
    value = fill(step.value, {"CWD": directory or "."})
    if step.action == "text":
        return Reply(value, step.thinking, (), step.usage)
    if step.action == "call":
        call = Call(value["name"], value.get("input", {}))
    elif step.action == "write":
        call = _write(value["path"], value["content"], tools, directory)
    else:
        call = _shell(value, tools)
    return Reply(step.say, step.thinking, (call,), step.usage)


def working_directory(body_text: str) -> str | None:
    """The directory that the agent's system prompt names, or None."""
    found = _WORKING_DIRECTORY.search(body_text)
    return (found[1] or found[2]) if found else None


def _shell(command: str, tools: Sequence[Tool]) -> Call:
    tool = _one_of(tools, SHELL_TOOLS)
    if tool is None:
        raise NoSuchTool(f"a shell step needs one of {SHELL_TOOLS}, the agent offers {[tool.name for tool in tools]}")
    if tool.code:
        arguments = json.dumps({"cmd": command})
        return Call(tool.name, {}, f"const ran = await tools.exec_command({arguments}); text(ran.output);")
    name = _field(tool, COMMAND_FIELDS)
    as_list = tool.schema.get("properties", {}).get(name, {}).get("type") == "array"
    return Call(tool.name, _required(tool, {name: ["bash", "-lc", command] if as_list else command}))


def _write(path: str, content: str, tools: Sequence[Tool], directory: str | None) -> Call:
    tool = _one_of(tools, WRITE_TOOLS)
    absolute = PurePosixPath(path).is_absolute()
    if tool is None or not (absolute or directory):
        parent = PurePosixPath(path).parent
        quoted = shlex.quote(path)
        return _shell(f"mkdir -p {shlex.quote(str(parent))} && printf %s {shlex.quote(content)} > {quoted}", tools)
    full = path if absolute else f"{directory}/{path}"
    return Call(tool.name, _required(tool, {_field(tool, PATH_FIELDS): full, _field(tool, CONTENT_FIELDS): content}))


def _one_of(tools: Sequence[Tool], names: Sequence[str]) -> Tool | None:
    return next((tool for name in names for tool in tools if tool.name.lower() == name), None)


def _field(tool: Tool, candidates: Sequence[str]) -> str:
    properties = tool.schema.get("properties", {})
    return next((name for name in candidates if name in properties), candidates[0])


def _required(tool: Tool, given: dict[str, Any]) -> dict[str, Any]:
    """The input with a harmless value for every other field that the schema insists on."""
    blanks: dict[str, Any] = {
        "string": "practice",
        "boolean": False,
        "integer": 1,
        "number": 1,
        "array": [],
        "object": {},
    }
    for name in tool.schema.get("required", ()):
        kind = tool.schema.get("properties", {}).get(name, {}).get("type", "string")
        given.setdefault(name, blanks.get(kind, "practice"))
    return given
