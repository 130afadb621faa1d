"""Where agents look for their models: the variables of each service, by the wire format that it speaks."""

from __future__ import annotations

from collections.abc import Mapping

from agentd.model import Profile

ADDRESSES = {
    "anthropic": {"ANTHROPIC_BASE_URL": ""},
    "openai": {"OPENAI_BASE_URL": "/v1", "OPENAI_API_BASE": "/v1"},
}
"""By family, the variables that hold the service's address, and the path that clients expect in it."""

KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}

CREDENTIALS = {
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "INFERENCE_API_KEY"),
    "openai": ("OPENAI_API_KEY", "CODEX_API_KEY", "INFERENCE_API_KEY"),
}

FAMILIES: dict[str, tuple[str, ...]] = {
    "acp": ("anthropic", "openai"),
    "builtin": ("anthropic", "openai"),
    "claude": ("anthropic",),
    "codex": ("openai",),
    "codex-app-server": ("openai",),
    "deepagents": ("anthropic", "openai"),
    "opencode": ("openai",),
}
"""What each adapter's agent speaks. `command` names what it needs by `pass_env`."""

ENDPOINT_VARIABLES = frozenset(
    [
        *(name for names in ADDRESSES.values() for name in names),
        *(name for names in CREDENTIALS.values() for name in names),
        *("ANTHROPIC_CUSTOM_HEADERS", "GOOGLE_API_KEY", "GEMINI_API_KEY", "INFERENCE_BASE_URL"),
    ]
)
"""Whatever says where a model is, or is a key for one: no agent behind the gateway gets it from anybody else."""


def families_of(profile: Profile, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The services that this profile's agent needs; empty for a program that asks for none.

    Of several that it speaks, those of which anything is said: agents choose their model by the keys that they find.
    """
    spoken = FAMILIES.get(profile.adapter) or tuple(
        family for family, key in KEYS.items() if {key, *ADDRESSES[family]} & {*profile.pass_env, *profile.env}
    )
    told = {**environ, **profile.env}
    if told.get("INFERENCE_BASE_URL"):
        return spoken
    said = tuple(family for family in spoken if any(told.get(name) for name in (KEYS[family], *ADDRESSES[family])))
    return said or spoken


def credentials_of(profile: Profile, environ: Mapping[str, str]) -> frozenset[str]:
    """The keys with which this profile's agent, or the gateway for it, asks its services."""
    told = {**environ, **profile.env}
    names = (name for family in families_of(profile, environ) for name in CREDENTIALS[family])
    return frozenset(told[name] for name in names if told.get(name))


def endpoint(families: tuple[str, ...], port: int, key: str) -> dict[str, str]:
    """The variables that lead an agent to a service of these families at a port of its loopback."""
    found: dict[str, str] = {}
    for family in families:
        found |= {name: f"http://127.0.0.1:{port}{path}" for name, path in ADDRESSES[family].items()}
        found[KEYS[family]] = key
    return found
