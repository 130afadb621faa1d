"""The agent's environment: built from an allowlist, never inherited, never with a GitHub token in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from agentd.agents.endpoints import ENDPOINT_VARIABLES
from agentd.agents.protocol import LaunchSpec
from agentd.errors import ConfigurationError
from agentd.sandbox.redact import secret_values as secret_values

INHERITED = ("PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "TMPDIR")
"""Copied from agentd's environment where set, beside every LC_* name."""

LOOPBACK = "127.0.0.1,localhost,::1"

_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SECRET_NAME = re.compile(r"^(?:.*_)?(?:EXECUTOR_BOT|GITHUB|GH)(?:_.*)?_(?:TOKEN|PAT|PASSWORD)$", re.IGNORECASE)
# docs.github.com, "GitHub's token formats"
_SECRET_VALUE = re.compile(r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})")


def base_environment(
    spec: LaunchSpec, copied: Iterable[str] = (), defaults: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The agent's whole environment.

    `copied` are names the adapter takes from agentd's own environment (its model endpoint), `defaults` are the
    adapter's own settings. What the profile says (`pass_env`, then `env`) wins over both; the home never changes, and
    of models and their keys there is nothing but the gateway's, where the run has one.
    Raises ConfigurationError naming profile and variable when a GitHub token would reach the agent.
    """
    profile = spec.profile
    for name in (*profile.pass_env, *profile.env):
        _refuse_name(profile.name, name)
    base = spec.base_env
    env = {name: base[name] for name in base if name in INHERITED or name.startswith("LC_")}
    env.setdefault("PATH", _DEFAULT_PATH)
    env |= {"TERM": "dumb", "CI": "1"}
    env |= defaults or {}
    env |= {name: base[name] for name in (*copied, *profile.pass_env) if name in base}
    env |= profile.env
    if spec.endpoint:
        env = {name: value for name, value in env.items() if name not in ENDPOINT_VARIABLES} | dict(spec.endpoint)
    env["HOME"] = str(spec.home)
    _refuse_values(profile.name, env, base)
    return _direct_loopback(env)


def setting(spec: LaunchSpec, name: str) -> str:
    """A variable as the profile sets it, else as agentd's own environment has it, else "". Of models: the gateway's."""
    if spec.endpoint and name in ENDPOINT_VARIABLES:
        return spec.endpoint.get(name, "")
    return spec.profile.env.get(name) or spec.base_env.get(name, "")


def _refuse_name(profile: str, name: str) -> None:
    if _SECRET_NAME.match(name):
        raise ConfigurationError(
            f"profile {profile!r} hands {name} to the agent: agents hold no GitHub token, agentd itself pushes and "
            "comments; remove it from the profile's env and pass_env"
        )
    if name == "HOME":
        raise ConfigurationError(f"profile {profile!r} sets HOME: every run has a home of its own; remove it")


def _refuse_values(profile: str, env: Mapping[str, str], base: Mapping[str, str]) -> None:
    """The same token under another name is still the token."""
    tokens = {value for name, value in base.items() if _SECRET_NAME.match(name) and len(value) >= 8}
    for name, value in env.items():
        if _SECRET_VALUE.search(value) or any(token in value for token in tokens):
            raise ConfigurationError(
                f"profile {profile!r} hands a GitHub token to the agent as {name}: agents hold no GitHub token; "
                "remove it from the profile"
            )


def _direct_loopback(env: dict[str, str]) -> dict[str, str]:
    """Keep a proxy out of the way to the model gateway, which listens on loopback."""
    if not any(env.get(name) or env.get(name.lower()) for name in _PROXIES):
        return env
    excluded = env.get("NO_PROXY") or env.get("no_proxy") or ""
    both = f"{excluded},{LOOPBACK}" if excluded else LOOPBACK
    return env | {"NO_PROXY": both, "no_proxy": both}
