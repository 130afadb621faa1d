"""What is secret here, and texts without it: for everything that is shown or handed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from agentd.config import Settings
from agentd.sandbox.redact import redact, secret_values

SHORTEST_SECRET = 4
"""Known values from this length on are taken out; shorter ones would take ordinary words along."""
MARK = "***REDACTED***"


def secrets_of(settings: Settings, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Every secret that settings and environment hold, and the keys that settings only name."""
    keys = {upstream.key_env for upstream in settings.gateway.upstreams.values() if upstream.key_env}
    found = [
        settings.token.get_secret_value(),
        *secret_values(environ),
        *(environ.get(name, "") for name in keys),
        *secret_values(settings.lockfiles.env),
        *(value for profile in settings.profiles.values() for value in secret_values(profile.env)),
        *_password(settings.database_url),
    ]
    return tuple(dict.fromkeys(value for value in found if value))


def _password(address: str) -> tuple[str, ...]:
    """The password in an address, as it stands there and decoded."""
    try:
        password = urlsplit(address).password or ""
    except ValueError:
        return (address,)
    return (password, unquote(password))


def without(text: str, secrets: Sequence[str]) -> str:
    """The text without known secrets, and without what looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, MARK)
    return redact(text, secrets)


def without_any(value: Any, secrets: Sequence[str]) -> Any:
    """A JSON value in which no text holds a secret."""
    if isinstance(value, str):
        return without(value, secrets)
    if isinstance(value, dict):
        return {key: without_any(each, secrets) for key, each in value.items()}
    return [without_any(each, secrets) for each in value] if isinstance(value, list | tuple) else value
