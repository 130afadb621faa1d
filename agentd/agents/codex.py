"""Codex (`codex exec --json`), written for 0.169: one JSON object a line, prompt by standard input.

CODEX_HOME, and so the run's home, must not be under /tmp: codex then refuses to link its helper programs there, its
sandbox can fail every command, and it still exits with 0 (codex_events.py makes a failure of that). Its sandbox also
keeps `.git` read-only, so it cannot commit: agentd does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from agentd.agents.codex_events import read
from agentd.agents.environment import base_environment, setting
from agentd.agents.executables import find, found_with, help_text, options_of, program
from agentd.agents.protocol import EventParser, Found, Launch, LaunchSpec, hook_settings
from agentd.agents.transcript import Parser, json_lines
from agentd.errors import ConfigurationError

INSTALL = "install Codex (npm install -g @openai/codex), or name its program in the profile's command"

ENDPOINT = ("OPENAI_API_KEY", "CODEX_API_KEY")
"""Taken from agentd's own environment; the address, OPENAI_BASE_URL, goes into codex's configuration file."""

OPENAI = "https://api.openai.com/v1"

REQUEST_RETRIES = 3
STREAM_RETRIES = 3

HOOK_TRUST = "--dangerously-bypass-hook-trust"
"""Without it a hook waits for a person who trusts it, and does not run until then."""

_NEEDED = ("--json", "--sandbox", "--config")


def probe(executable: str | None, env: Mapping[str, str]) -> Found:
    """The program `codex`, if `codex exec` is there (other programs share its name) and knows the options used here."""
    path = find([executable or "codex"], env, INSTALL)[0]
    return found_with(path, options_of(help_text([str(path), "exec"], env)), _NEEDED, INSTALL)


def launch(spec: LaunchSpec) -> Launch:
    """`codex exec --json` in its own sandbox, or with that off where agentd's sandbox is around it."""
    name, extra = program(spec, "codex")
    codex_home = spec.home / ".codex"
    mode = "danger-full-access" if spec.sandboxed else "workspace-write"
    argv = [name, "exec", "--json", "--sandbox", mode, "-c", 'approval_policy="never"', "--skip-git-repo-check"]
    if spec.profile.model:
        argv += ["--model", spec.profile.model]
    if spec.hook and spec.found is not None and HOOK_TRUST not in spec.found.options:
        raise ConfigurationError(
            f"profile {spec.profile.name!r}: {spec.found.path} knows no {HOOK_TRUST}, so nothing could judge its "
            "commands; install a newer codex, or take shell_allow out of the profile"
        )
    if spec.hook:
        argv += [HOOK_TRUST]
    argv += extra
    if spec.resume:
        argv += ["resume", spec.resume]
    env = base_environment(spec, ENDPOINT, {"CODEX_HOME": str(codex_home)})
    files = {codex_home / "config.toml": configuration(spec)}
    if spec.hook:
        files[codex_home / "hooks.json"] = hook_settings(spec.hook)
    return Launch((*argv, "-"), env, spec.prompt.encode(), files)


def parser() -> EventParser:
    """Reads `--json`."""
    return Parser(json_lines(read))


def configuration(spec: LaunchSpec) -> str:
    """config.toml: no update checks, no trust in the repository, no keys in its shell, and the model's address."""
    lines = ["check_for_update_on_startup = false"]
    address = setting(spec, "OPENAI_BASE_URL") or (OPENAI if setting(spec, "OPENAI_API_KEY") else "")
    if address:
        lines.append('model_provider = "agentd"')
    lines += ["", "[analytics]", "enabled = false"]
    # app-server trusts a directory by itself in which it may write, and then starts what `.codex` in it names.
    lines += ["", f"[projects.{json.dumps(str(spec.workspace))}]", 'trust_level = "untrusted"']
    lines += ["", "[shell_environment_policy]", "ignore_default_excludes = false"]
    if address:
        lines += [
            "",
            "[model_providers.agentd]",
            'name = "agentd"',
            # A JSON string is a TOML basic string too.
            f"base_url = {json.dumps(address)}",
            'wire_api = "responses"',
            'env_key = "OPENAI_API_KEY"',
            f"request_max_retries = {REQUEST_RETRIES}",
            f"stream_max_retries = {STREAM_RETRIES}",
        ]
    return "\n".join(lines) + "\n"
