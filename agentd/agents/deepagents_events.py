"""Deep Agents' text output as events: it has no machine-readable one without a person."""

from __future__ import annotations

import re

from agentd.agents.events import AgentEvent, Denied, Error, Final, Outcome, Raw, Started, Text, ToolCall, tool_kind
from agentd.agents.outcomes import from_exit, from_text
from agentd.agents.transcript import Transcript, ends, judge_events

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_THREAD = re.compile(r"(?:^|\| )Thread: ([0-9a-zA-Z-]{8,})\s*$")
_TOOL = re.compile(r"Calling tool: (\w+)\s*$")
_DENIED = re.compile(r"Shell command rejected: (.*)")
_COMPLETED = re.compile(r"^(?:✓|\[OK\]) Task completed\s*$")
"""Models like to say it too, with other signs."""
_STOPPED = re.compile(r"^Operation stopped by hook: ")
"""With this it exits with 0."""
_ERROR = re.compile(r"^(?:Agent error|Unexpected error|Error)(?: \((?P<type>\w+)\))?: (?P<text>.*)")

_CHATTER = re.compile(r"^(?:Running task non-interactively|Starting LangGraph server|\S{1,3} Server ready)")

NO_SHELL = Error(
    "failed",
    "this deepagents had no shell tool: it did not take over the list of commands (-S), so nothing that the run was to "
    "execute was executed",
)
"""It goes on without, and exits with 0 when it has done nothing."""

_NO_SHELL = re.compile(r"Shell command rejected \(no allow-list configured\)|Shell commands are not permitted")

TIMED_OUT = 124
"""Its exit status when `--timeout` is over (and, by its documentation, `--max-turns`)."""


def read(line: bytes, transcript: Transcript) -> list[AgentEvent]:
    """The events of one line; what is not recognised is something the agent said."""
    text = _ANSI.sub("", line.decode(errors="replace")).rstrip()
    if not text.strip():
        return []
    if isinstance(transcript.ended, Final) or _CHATTER.match(text):
        # After the end comes a table of rounded token counts.
        return [Raw(text)]
    if found := _THREAD.search(text):
        return [Started(found[1])]
    if found := _TOOL.search(text):
        return [ToolCall("", found[1], tool_kind(found[1]), {})]
    if _NO_SHELL.search(text):
        return [NO_SHELL]
    if found := _DENIED.search(text):
        return [Denied("", found[0])]
    if _COMPLETED.match(text):
        return [NO_SHELL if transcript.ended == NO_SHELL else Final("\n".join(transcript.said))]
    if _STOPPED.match(text):
        return [Error("failed", text)]
    if error := _error(text):
        return [error]
    return [Text(text)]


def judge(transcript: Transcript, exit_status: int, stderr_tail: str) -> Outcome:
    """By its last word; with `-q` the errors, and the session, stand on standard error."""
    lines = [_ANSI.sub("", line).rstrip() for line in stderr_tail.splitlines()]
    for line in lines:
        if transcript.session_id is None and (found := _THREAD.search(line)):
            transcript.session_id = found[1]
    if exit_status == TIMED_OUT:
        return ends(transcript, Error("timeout", "its own time limit is over", retryable=True))
    if isinstance(transcript.ended, Final):
        return judge_events(transcript, exit_status, stderr_tail)
    told = transcript.ended or next((error for line in reversed(lines) if (error := _error(line))), None)
    if told is None and exit_status == 0 and transcript.last_text:
        # With -q only what the model says is printed, and its end is the end of the output.
        told = Error("success", "")
    return ends(transcript, told or from_exit(exit_status, stderr_tail))


def _error(text: str) -> Error | None:
    found = _ERROR.match(text)
    if not found:
        return None
    return from_text(f"{found['type'] or ''} {found['text']}".strip(), Error("failed", text, retryable=True))
