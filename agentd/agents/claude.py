"""Claude Code (`claude -p`), written for 2.1: one JSON object a line, prompt by standard input.

The hostile side of it: settings and hooks in the checked-out repository would run without a question, so only the
run's own home is read (`--setting-sources user`). agentd's own hook stands there.
"""

from __future__ import annotations

from collections.abc import Mapping

from agentd.agents.claude_events import read
from agentd.agents.environment import base_environment
from agentd.agents.executables import find, found_with, help_text, options_of, program
from agentd.agents.protocol import EventParser, Found, Launch, LaunchSpec, hook_settings
from agentd.agents.transcript import Parser, json_lines

INSTALL = "install Claude Code (npm install -g @anthropic-ai/claude-code), or name its program in the profile's command"

ENDPOINT = (
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_CUSTOM_HEADERS",
    "CLAUDE_CODE_OAUTH_TOKEN",
)
"""Taken from agentd's own environment: where the model is, and the key for it."""

TOOLS = ("Edit", "Write", "Read", "Glob", "Grep")
"""Allowed beside the shell; whatever else needs a permission is denied without a question."""

RETRIES = "4"
"""Claude's own default of 10 keeps a run with a wrong key alive for minutes."""

NO_TELEMETRY = {"DISABLE_TELEMETRY": "1"}
TELEMETRY = {
    "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
    "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
}

_NEEDED = ("--output-format", "--permission-mode", "--allowedTools", "--setting-sources", "--print")


def probe(executable: str | None, env: Mapping[str, str]) -> Found:
    """The program `claude`, if its help knows the options that are used here."""
    path = find([executable or "claude"], env, INSTALL)[0]
    return found_with(path, options_of(help_text([str(path)], env)), _NEEDED, INSTALL)


def launch(spec: LaunchSpec) -> Launch:
    """`claude -p` with streamed events and edits accepted.

    The shell is narrowed to the profile's `shell_allow`, unless a hook judges: claude's own patterns refuse commands of
    several parts that a policy allows.
    """
    name, extra = program(spec, "claude")
    argv = [name, "-p", "--output-format", "stream-json", "--verbose"]
    argv += [
        "--permission-mode",
        "acceptEdits",
        "--allowedTools",
        ",".join([*_shell(() if spec.hook else spec.profile.shell_allow), *TOOLS]),
    ]
    if spec.profile.model:
        argv += ["--model", spec.profile.model]
    argv += ["--setting-sources", "user"]
    if spec.resume:
        argv += ["--resume", spec.resume]
    folder = spec.home / ".claude"
    settings = {
        "CLAUDE_CONFIG_DIR": str(folder),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": RETRIES,
        "DISABLE_AUTOUPDATER": "1",
        **({**TELEMETRY, "OTEL_EXPORTER_OTLP_ENDPOINT": spec.telemetry} if spec.telemetry else NO_TELEMETRY),
    }
    files = {folder / "settings.json": hook_settings(spec.hook)} if spec.hook else {}
    return Launch((*argv, *extra), base_environment(spec, ENDPOINT, settings), spec.prompt.encode(), files)


def parser() -> EventParser:
    """Reads `--output-format stream-json`."""
    return Parser(json_lines(read))


def _shell(allowed: tuple[str, ...]) -> list[str]:
    return [f"Bash({command} *)" for command in allowed] or ["Bash"]
