"""Model services: which one serves a call, and with which key. Keys come from the environment and go nowhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from agentd.config_tables import Dialect, GatewaySettings, check_base_url
from agentd.errors import ConfigurationError

Family = Literal["anthropic", "openai"]
FAMILY: dict[Dialect, Family] = {"chat": "openai", "responses": "openai", "messages": "anthropic"}
ANTHROPIC_URL = "https://api.anthropic.com"
OPENAI_URL = "https://api.openai.com/v1"
OAUTH_BETA = "oauth-2025-04-20"
"""Anthropic takes a subscription's token only together with this."""
_PATH: dict[Dialect, str] = {"chat": "/chat/completions", "responses": "/responses", "messages": "/messages"}


@dataclass(frozen=True)
class Upstream:
    """One model service."""

    name: str
    base_url: str
    dialects: tuple[Dialect, ...]
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    """credentials, by header"""
    beta: str = ""
    """added to the client's anthropic-beta"""
    models: tuple[str, ...] = ("*",)
    timeout_seconds: float = 600.0
    proxy: str | None = None
    credential: str = ""
    """`<name>:<first 8 hex digits of the key's sha256>`: names the real key without showing it"""

    def url(self, dialect: Dialect, tail: str = "") -> str:
        """Where a call goes. OpenAI's clients put their path behind the base, Anthropic's put `/v1` between."""
        return f"{self._root(dialect)}{tail or _PATH[dialect]}"

    def secrets(self) -> tuple[str, ...]:
        """What must never be seen outside."""
        values = (value.get_secret_value() for value in self.headers.values())
        return tuple(value.removeprefix("Bearer ") for value in values)

    def _root(self, dialect: Dialect) -> str:
        if "messages" not in self.dialects:
            return self.base_url
        return f"{self.base_url.removesuffix('/v1')}/v1"


@dataclass(frozen=True)
class Upstreams:
    """All services, in the order in which they are asked."""

    all: tuple[Upstream, ...]

    @property
    def dialects(self) -> frozenset[Dialect]:
        """What can be served."""
        return frozenset(dialect for each in self.all for dialect in each.dialects)

    @property
    def families(self) -> frozenset[Family]:
        """`openai` and `anthropic`, where at least one dialect of theirs can be served."""
        return frozenset(FAMILY[dialect] for dialect in self.dialects)

    def of(self, dialect: Dialect, model: str | None) -> Upstream | None:
        """The first service that speaks the dialect and has the model; any model for None."""
        return next((each for each in self.all if dialect in each.dialects and _has(each, model)), None)

    def secrets(self) -> tuple[str, ...]:
        """The real keys, to be taken out of whatever is kept."""
        return tuple(dict.fromkeys(secret for each in self.all for secret in each.secrets()))


def upstreams_of(environ: Mapping[str, str], settings: GatewaySettings) -> Upstreams:
    """The services of `[gateway.upstreams]`, then those that the environment names.

    A usual service without a key is there only when its address was set. Raises ConfigurationError naming the setting
    or variable.
    """
    found = [*_named(environ, settings), *_inference(environ, settings)]
    found += [*_anthropic(environ, settings), *_openai(environ, settings)]
    return Upstreams(tuple(found))


def _named(environ: Mapping[str, str], settings: GatewaySettings) -> list[Upstream]:
    found = []
    for name, each in settings.upstreams.items():
        key = _secret(environ, each.key_env) if each.key_env else ""
        if each.key_env and not key:
            raise ConfigurationError(f"gateway.upstreams.{name}.key_env: {each.key_env} is not set in the environment")
        headers = _either(key, each.dialects)
        found.append(
            Upstream(
                name=name,
                base_url=each.base_url,
                dialects=each.dialects,
                headers=headers,
                models=each.models,
                timeout_seconds=each.timeout_seconds,
                proxy=_proxy(environ, each.base_url),
                credential=_credential(name, key),
            )
        )
    return found


def _inference(environ: Mapping[str, str], settings: GatewaySettings) -> list[Upstream]:
    base = _address(environ, "INFERENCE_BASE_URL", "")
    if not base:
        return []
    dialects: tuple[Dialect, ...] = ("chat", "responses", "messages")
    key = _secret(environ, "INFERENCE_API_KEY")
    return [_usual(environ, settings, "inference", base, dialects, _either(key, dialects), key)]


def _anthropic(environ: Mapping[str, str], settings: GatewaySettings) -> list[Upstream]:
    base = _address(environ, "ANTHROPIC_BASE_URL", ANTHROPIC_URL)
    key, token = _secret(environ, "ANTHROPIC_API_KEY"), _secret(environ, "ANTHROPIC_AUTH_TOKEN")
    subscription = _secret(environ, "CLAUDE_CODE_OAUTH_TOKEN")
    secret = key or token or subscription
    if not secret and base == ANTHROPIC_URL:
        return []
    headers = {"x-api-key": SecretStr(key)} if key else _bearer(secret)
    beta = OAUTH_BETA if secret and secret == subscription else ""
    return [_usual(environ, settings, "anthropic", base, ("messages",), headers, secret, beta)]


def _openai(environ: Mapping[str, str], settings: GatewaySettings) -> list[Upstream]:
    base, key = _address(environ, "OPENAI_BASE_URL", OPENAI_URL), _secret(environ, "OPENAI_API_KEY")
    if not key and base == OPENAI_URL:
        return []
    return [_usual(environ, settings, "openai", base, ("chat", "responses"), _bearer(key), key)]


def _usual(
    environ: Mapping[str, str],
    settings: GatewaySettings,
    name: str,
    base_url: str,
    dialects: tuple[Dialect, ...],
    headers: Mapping[str, SecretStr],
    key: str,
    beta: str = "",
) -> Upstream:
    return Upstream(
        name=name,
        base_url=base_url,
        dialects=dialects,
        headers=headers,
        beta=beta,
        timeout_seconds=settings.timeout_seconds,
        proxy=_proxy(environ, base_url),
        credential=_credential(name, key),
    )


def _bearer(key: str) -> dict[str, SecretStr]:
    return {"authorization": SecretStr(f"Bearer {key}")} if key else {}


def _either(key: str, dialects: tuple[Dialect, ...]) -> dict[str, SecretStr]:
    """What such a service may read its key from: servers of the messages dialect differ."""
    if key and "messages" in dialects:
        return {**_bearer(key), "x-api-key": SecretStr(key)}
    return _bearer(key)


def _credential(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _address(environ: Mapping[str, str], variable: str, default: str) -> str:
    try:
        found = environ.get(variable, "").strip()
        return check_base_url(found) if found else default
    except ValueError as problem:
        raise ConfigurationError(f"{variable}: {problem}") from None


def _secret(environ: Mapping[str, str], variable: str) -> str:
    found = environ.get(variable, "").strip()
    if not found.isascii() or not found.isprintable() or " " in found:
        raise ConfigurationError(f"{variable}: is no key: it holds spaces, line breaks or letters outside ASCII")
    return found


def _proxy(environ: Mapping[str, str], url: str) -> str | None:
    """The proxy that the environment wants for this address; none for loopback and what NO_PROXY lists."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    direct = [name.strip().lstrip(".") for name in _either_case(environ, "no").split(",")]
    if host in ("localhost", "127.0.0.1", "::1") or "*" in direct:
        return None
    if any(host == name or host.endswith(f".{name}") for name in direct if name):
        return None
    return _either_case(environ, parts.scheme) or _either_case(environ, "all") or None


def _either_case(environ: Mapping[str, str], kind: str) -> str:
    return environ.get(f"{kind}_proxy") or environ.get(f"{kind.upper()}_PROXY") or ""


def _has(upstream: Upstream, model: str | None) -> bool:
    return model is None or any(fnmatchcase(model, pattern) for pattern in upstream.models)
