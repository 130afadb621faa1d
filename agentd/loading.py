"""Reading the settings: flags > environment > agentd.toml > defaults, with every problem told at once."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from agentd.config import Settings, environment_names
from agentd.errors import ConfigurationError

if TYPE_CHECKING:
    from agentd.policy.document import Policy

CONFIG_FILE = "agentd.toml"


@dataclass(frozen=True)
class Loaded:
    """Settings with where each value came from: flag, environment variable, file or default."""

    settings: Settings
    origins: dict[str, str]
    file: Path | None


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str],
    directory: Path,
    file: Path | None = None,
    ask_gh: bool = False,
) -> Loaded:
    """Read all sources. Raises ConfigurationError with every problem at once, each naming its setting and source.

    `flags` holds only what was given on the command line (no None values are taken). `ask_gh` lets `gh` be asked
    for a token of the server when nothing else gives one.
    """
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    path = file or directory / CONFIG_FILE
    from_file = _read_file(path, required=file is not None)
    from_environment = _read_environment(environ)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    for layer, origin in ((from_file, str(path.name)), (from_environment, ""), (given, "flag")):
        for field, value in layer.items():
            name, found = value if isinstance(value, tuple) and origin == "" else (origin, value)
            values[field], origins[field] = found, name
    if ask_gh and not _secret(values.get("token", "")):
        server = str(values.get("github_server_url", Settings.model_fields["github_server_url"].default))
        token = _gh_token(environ, server)
        if token:
            values["token"], origins["token"] = token, "gh auth token"
    if origins["policy"] == path.name and isinstance(values["policy"], str):
        values["policy"] = path.absolute().parent / Path(values["policy"]).expanduser()
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(_problems(error, origins)) from None
    if settings.policy is not None:
        _require_agreement(settings, origins)
    return Loaded(settings, origins, path if path.is_file() else None)


@functools.cache
def read_policy(path: Path | None) -> Policy:
    """The policy of a document, read once a process; None is the built-in one. Raises ConfigurationError."""
    from agentd.policy.document import BUILT_IN, BUILT_IN_NAME, parse

    if path is None:
        return parse(BUILT_IN, BUILT_IN_NAME)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from None
    return parse(text, str(path))


def _require_agreement(settings: Settings, origins: Mapping[str, str]) -> None:
    """Raises ConfigurationError where the policy document is broken, or says otherwise than the settings."""
    from agentd.policy.document import covers

    policy = read_policy(settings.policy)
    if policy.document.run_controls is not None and origins["run_controls"] != "default":
        raise ConfigurationError(f"{policy.name}: /run_controls: agentd.toml has [run_controls] too; keep one")
    for name, profile in settings.profiles.items():
        for host in profile.hosts:
            if not covers(policy.document, host.partition(":")[0]):
                said = f"profile {name!r} lists the host {host!r}, which is not on the list; add it here or remove it"
                raise ConfigurationError(f"{policy.name}: /url_allowlist: {said} there")


def _secret(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    if not path.is_file():
        if required:
            raise ConfigurationError(f"{path}: no such file")
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: cannot be read: its values are nested too deeply") from None
    if "token" in values:
        raise ConfigurationError(f"{path}: token must not stand in a file; set EXECUTOR_BOT_TOKEN in the environment")
    unknown = sorted(set(values) - set(Settings.model_fields))
    if unknown:
        raise ConfigurationError(f"{path}: unknown setting {', '.join(unknown)}; `agentd config show` lists them all")
    for name, profile in values.get("profiles", {}).items():
        if isinstance(profile, dict):
            profile.setdefault("name", name)
    return values


def _read_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    for field in Settings.model_fields:
        for name in environment_names(field):
            text = environ.get(name, "").strip()
            if text:
                found[field] = (name, text)
                break
    return found


def _gh_token(environ: Mapping[str, str], server: str) -> str:
    program = shutil.which("gh", path=environ.get("PATH"))
    try:
        host = urlsplit(server).hostname
    except ValueError:  # told when the settings are made
        return ""
    if program is None or not host:
        return ""
    try:
        done = subprocess.run(
            [program, "auth", "token", "--hostname", host],
            capture_output=True,
            text=True,
            timeout=10,
            env=dict(environ),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _problems(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in problem["loc"]) or "settings"
        field = str(problem["loc"][0]) if problem["loc"] else ""
        lines.append(f"{path} (from {origins.get(field, 'agentd.toml')}): {problem['msg']}")
    return "; ".join(lines)


def require_repo(settings: Settings, *, token: bool = True) -> None:
    """Raises ConfigurationError naming what is missing: the repository or, unless it is not needed, the token."""
    if not settings.repo:
        raise ConfigurationError("no repository: set REPO=owner/name, `repo` in agentd.toml, or --repo")
    if token and not settings.token.get_secret_value():
        raise ConfigurationError(
            "no GitHub token: set EXECUTOR_BOT_TOKEN (or GITHUB_TOKEN, GH_TOKEN), or log in with `gh auth login`"
        )
