"""The tables of agentd.toml, `[trust]` and so on; agentd.config has them beside the settings that are no table."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from agentd.model import Frozen
from agentd.policy.diff import check_patterns

Permission = Literal["read", "triage", "write", "maintain", "admin"]
Dialect = Literal["chat", "responses", "messages"]


class Trust(Frozen):
    """`[trust]`: whose label starts work."""

    min_permission: Permission = "triage"
    """The least repository permission of the person who set `agent-ready`."""
    trusted_bots: tuple[int, ...] = ()
    """Numeric user ids of bots whose label counts; names are never trusted."""


class Retries(Frozen):
    """`[retries]`: attempts per cause since a task's last success, before it is blocked."""

    conflict: int = Field(default=3, ge=1)
    infrastructure: int = Field(default=3, ge=1)
    agent: int = Field(default=2, ge=1)

    def limit(self, cause: str) -> int:
        """Attempts that a cause may use up."""
        return int(getattr(self, cause))


class ClaimSettings(Frozen):
    """`[claim]`: the fenced right to act for a task."""

    lease_seconds: float = Field(default=90.0, gt=0)
    """A claim that is not renewed for this long may be taken over."""
    remote_lease_seconds: float = Field(default=600.0, gt=0)
    """The same for the claim on the remote, which another installation may take over."""
    remote: bool = True
    """Also hold `refs/agentd/claims/<task>` on the remote, so that two installations never work on one issue."""


PROTECTED = (
    "/.github/workflows/",
    "/.github/actions/",
    "CODEOWNERS",
    ".gitmodules",
    "/agentd.toml",
    "/tasks/P[0-3]-*.json",
    ".mcp.json",
    ".claude/",
    ".codex/",
    ".cursor/",
    ".deepagents/",
    ".opencode/",
    "opencode.json",
)
"""Where what is written runs elsewhere, or decides what the next agent may do."""


class DiffSettings(Frozen):
    """`[diff]`: what a run may change. Patterns are written as in .gitignore."""

    max_files: int = Field(default=100, ge=1)
    """Files that one run may change."""
    max_bytes: int = Field(default=4_000_000, ge=1, le=200_000_000)
    """Bytes of all files that it adds or changes."""
    protected: tuple[str, ...] = PROTECTED
    """Paths that only people may change."""
    binary: tuple[str, ...] = ()
    """Paths where binary files may be added or changed."""
    secrets: tuple[str, ...] = ()
    """Paths where what looks like a secret is none, such as made-up keys of tests."""

    @field_validator("protected", "binary", "secrets")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_patterns(value)
        return value


class Retention(Frozen):
    """`[retention]`: when what is left of runs is cleaned up. Nothing goes before its content is proven to be kept."""

    every_minutes: float = Field(default=60.0, ge=0)
    """How often the supervisor cleans up; 0 leaves it to `agentd clean`."""
    workspace_hours: float = Field(default=24.0, ge=0)
    """How long the workspace of a run stays after its end."""
    workspaces_max_gib: float = Field(default=20.0, ge=0)
    """Disk of all workspaces of ended runs together, in GiB; the oldest go earlier when it is more. 0 is no limit."""
    run_days: float = Field(default=30.0, ge=0)
    """How long the files of a run (home, results, logs) stay after its end, and what only saves time."""
    salvage_days: float = Field(default=90.0, ge=0)
    """How long salvaged work is kept; 0 is for ever."""


class LockfileSettings(Frozen):
    """`[lockfiles]`: how the package managers are run that bring lockfiles up to date after a conflict in them."""

    hosts: tuple[str, ...] = ()
    """Registries besides the package managers' own, each `name` or `name:port`: they can be reached while a lockfile is
    regenerated, over https, and its entries may come from them."""
    private_hosts: bool = False
    """Registries may have private addresses: a mirror on the own network."""
    env: dict[str, str] = Field(default_factory=dict)
    """Variables for the package managers, such as `npm_config_registry`. No secrets: repository code may read them."""
    pass_env: tuple[str, ...] = (
        *("npm_config_registry", "YARN_REGISTRY", "YARN_NPM_REGISTRY_SERVER"),
        *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "GOPROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"),
    )
    """Names of variables that are copied from agentd's own environment, where it has them."""
    timeout_minutes: float = Field(default=5.0, gt=0)
    """Wall-clock limit of one command of a package manager."""

    @field_validator("hosts")
    @classmethod
    def _host_shape(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            name, colon, port = host.partition(":")
            legal = name and all(c.isascii() and (c.isalnum() or c in "-.") for c in name)
            if not legal or (colon and not (port.isdigit() and 0 < int(port) < 1 << 16)):
                raise ValueError(f"{host!r} is not of the form name or name:port")
        return tuple(host.lower().removesuffix(":443") for host in value)


class Price(Frozen):
    """`[gateway.prices."<model>"]`: US dollars for a million tokens. `*` in the name stands for anything."""

    input: float = Field(ge=0, le=1e6)
    """Of input that is not from a cache."""
    output: float = Field(ge=0, le=1e6)
    """Of output, reasoning included."""
    cached: float | None = Field(default=None, ge=0, le=1e6)
    """Of input from a cache; as `input` when not set."""
    cache_write: float | None = Field(default=None, ge=0, le=1e6)
    """Of input that is put into a cache; as `input` when not set."""


class UpstreamSettings(Frozen):
    """`[gateway.upstreams.<name>]`: a model service beside the usual ones; asked before them."""

    base_url: str
    """As its own clients take it: with `/v1` at the end for OpenAI's dialects, without for `messages` alone."""
    dialects: tuple[Dialect, ...] = Field(min_length=1)
    """What it speaks: `chat`, `responses`, `messages`."""
    key_env: str = Field(default="", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$|^$")
    """Name of the environment variable that holds its key; empty for a service without one."""
    models: tuple[str, ...] = ("*",)
    """Models that it is asked for; `*` stands for anything."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    """How long it may stay silent within one call."""

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        return check_base_url(value)


def check_base_url(value: str) -> str:
    """The address without a slash at its end. Raises ValueError for one that is no plain http(s) address."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with https:// or http:// and name a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user, password or query: a key belongs into the environment")
    return value.rstrip("/")


class GatewaySettings(Frozen):
    """`[gateway]`: the only way from runs to a model, where keys are swapped and calls are counted."""

    enabled: bool = True
    """Without it agents reach their models by themselves, with the real keys in their environment, uncounted."""
    upstreams: dict[str, UpstreamSettings] = Field(default_factory=dict)
    """`[gateway.upstreams.<name>]`: model services beside those that the environment names."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """`[gateway.prices."<model>"]`: prices that go before the built-in list."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    """How long a service that the environment names may stay silent within one call."""
    wait_seconds: float = Field(default=60.0, ge=0)
    """How long a call waits for room in a budget that calls on their way have reserved."""
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """The longest request that is taken."""
    max_output_tokens: int = Field(default=32_000, ge=1, le=1_000_000)
    """Output tokens that are reserved for a call that does not say how many it wants at most."""

    @field_validator("upstreams")
    @classmethod
    def _plain_names(cls, value: dict[str, UpstreamSettings]) -> dict[str, UpstreamSettings]:
        for name in value:
            if not all(c.isascii() and (c.isalnum() or c in "-_") for c in name) or not name:
                raise ValueError(f"the name {name!r} may hold letters, digits, - and _ only")
        return value


class LedgerSettings(Frozen):
    """`[ledger]`: the record of what happened, and the files that are made from it."""

    checkpoint_minutes: float = Field(default=60.0, ge=0)
    """How often the supervisor signs how far the ledger has come; 0 leaves it to `agentd ledger checkpoint`."""
    events_max_mib: float = Field(default=64.0, ge=0)
    """Size of events.jsonl from which on a new one is begun, in MiB; 0 is no limit."""
    events_kept: int = Field(default=10, ge=0)
    """Earlier events.jsonl files that are kept beside it; the ledger has all of their events."""


class TracingSettings(Frozen):
    """`[tracing]`: where the trace of each run is sent once it has come to its end."""

    sinks: tuple[Literal["file", "otlp", "langsmith"], ...] = ("file",)
    """`file`: OTLP/JSON in `traces` beside the logs. `otlp`: a collector, over HTTP. `langsmith`: LangSmith, with the
    key of LANGSMITH_API_KEY in agentd's environment."""
    endpoint: str = "http://127.0.0.1:4318"
    """Address of the collector of `otlp`, without `/v1/traces`; OTEL_EXPORTER_OTLP_HEADERS gives it headers."""
    link: str = ""
    """Address of a trace in a viewer, with `{trace_id}` in it: it stands in pull requests."""

    @field_validator("endpoint", "link")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("must begin with https:// or http://")
        return value.rstrip("/")
