"""Every setting, defined once; agentd.loading reads them: flags > environment > agentd.toml > defaults.

The reference page, `agentd config show` and the template of `agentd init` are made from this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, ConfigDict, Field, SecretStr, field_validator

from agentd.errors import ConfigurationError
from agentd.model import Frozen, Profile
from agentd.policy.budget_settings import Budgets
from agentd.policy.diff import check_patterns
from agentd.policy.run_controls import RunControls

TOKEN_VARIABLES = ("EXECUTOR_BOT_TOKEN", "GITHUB_TOKEN", "GH_TOKEN")
SandboxMode = Literal["required", "none"]
LayoutChoice = Literal["auto", "clone", "overlay", "worktree"]
Permission = Literal["read", "triage", "write", "maintain", "admin"]
Dialect = Literal["chat", "responses", "messages"]


def _named(field: str, *variables: str) -> AliasChoices:
    """The key in agentd.toml, then the environment variables that set the same thing."""
    return AliasChoices(field, *variables)


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


class Settings(Frozen):
    """All of agentd's settings."""

    model_config = ConfigDict(populate_by_name=True, validate_default=True, hide_input_in_errors=True)

    repo: str = Field("", validation_alias=_named("repo", "REPO"))
    """The repository, `owner/name`."""
    base_branch: str = Field("main", validation_alias=_named("base_branch", "BASE_BRANCH"))
    """Branch that work starts from and pull requests go to."""
    token: SecretStr = Field(SecretStr(""), validation_alias=_named("token", *TOKEN_VARIABLES))
    """GitHub token; not allowed in agentd.toml. Without one, `gh auth token` is asked."""
    github_api_url: str = Field("https://api.github.com", validation_alias=_named("github_api_url", "GITHUB_API_URL"))
    """REST address; GitHub Enterprise: `https://host/api/v3`."""
    github_server_url: str = Field(
        "https://github.com", validation_alias=_named("github_server_url", "GITHUB_SERVER_URL")
    )
    """Address that repositories are cloned from."""
    verify_command: str = Field("", validation_alias=_named("verify_command", "VERIFY_COMMAND"))
    """Command that decides whether an agent's work is good, for issues without a contract of their own."""
    max_parallel: int = Field(2, ge=1, le=1000, validation_alias=_named("max_parallel", "MAX_PARALLEL"))
    """Runs at the same time."""
    host_max_parallel: int = Field(0, ge=0, le=1000, validation_alias=_named("host_max_parallel", "HOST_MAX_PARALLEL"))
    """Runs at the same time on this host of a fleet; 0 takes max_parallel."""
    host_min_free_mib: int = Field(256, ge=0, validation_alias=_named("host_min_free_mib", "AGENTD_HOST_MIN_FREE_MIB"))
    """Nothing starts on this host while less memory is free, in MiB."""
    host_max_load: float = Field(0.0, ge=0, validation_alias=_named("host_max_load", "AGENTD_HOST_MAX_LOAD"))
    """Nothing starts on this host while its load of the last minute is higher, for each core; 0 asks for no load."""
    poll_interval_seconds: float = Field(
        60.0, gt=0, validation_alias=_named("poll_interval_seconds", "POLL_INTERVAL_SECONDS")
    )
    """Seconds between two looks at GitHub."""
    max_agent_runtime_minutes: float = Field(
        20.0, gt=0, validation_alias=_named("max_agent_runtime_minutes", "MAX_AGENT_RUNTIME_MINUTES")
    )
    """Wall-clock limit of one agent process; then its whole process tree is ended."""
    agent_startup_minutes: float = Field(
        10.0, ge=0, validation_alias=_named("agent_startup_minutes", "AGENTD_AGENT_STARTUP_MINUTES")
    )
    """How long an agent may show no sign of life after its start (output, or a change in its files); 0 is for ever."""
    agent_silence_minutes: float = Field(
        15.0, ge=0, validation_alias=_named("agent_silence_minutes", "AGENTD_AGENT_SILENCE_MINUTES")
    )
    """How long an agent that has shown one may show no further sign of life; 0 is for ever."""
    verify_timeout_minutes: float = Field(
        15.0, gt=0, validation_alias=_named("verify_timeout_minutes", "AGENTD_VERIFY_TIMEOUT_MINUTES")
    )
    """Wall-clock limit of the verify command."""
    sandbox: SandboxMode = Field("required", validation_alias=_named("sandbox", "AGENTD_SANDBOX"))
    """`required`: agents and verify commands run in a sandbox, or not at all. `none`: as agentd's own user, free to
    read and write whatever that user may; every run, comment and report says so."""
    max_memory_mib: int = Field(4096, ge=64, validation_alias=_named("max_memory_mib", "AGENTD_MAX_MEMORY_MIB"))
    """Memory of all processes of a run in the sandbox together, in MiB; more ends the run."""
    max_disk_mib: int = Field(4096, ge=1, validation_alias=_named("max_disk_mib", "AGENTD_MAX_DISK_MIB"))
    """What a run in the sandbox may add to its workspace and home, in MiB; more ends the run."""
    max_processes: int = Field(1024, ge=16, validation_alias=_named("max_processes", "AGENTD_MAX_PROCESSES"))
    """Processes and threads of a run in the sandbox at the same time."""
    max_cpu_minutes: float = Field(0.0, ge=0, validation_alias=_named("max_cpu_minutes", "AGENTD_MAX_CPU_MINUTES"))
    """CPU time of a program in the sandbox with all that it started and that still lives; 0 asks for no limit."""
    max_run_minutes: float = Field(360.0, ge=0, validation_alias=_named("max_run_minutes", "AGENTD_MAX_RUN_MINUTES"))
    """Wall-clock limit of a whole run, waits for GitHub included, each time that it is taken up; 0 is for ever."""
    max_fix_rounds: int = Field(3, ge=0, le=10, validation_alias=_named("max_fix_rounds", "AGENTD_MAX_FIX_ROUNDS"))
    """How often the agent may try again after a failed verify, within one run."""
    max_output_bytes: int = Field(
        64 * 1024 * 1024, ge=65536, validation_alias=_named("max_output_bytes", "AGENTD_MAX_OUTPUT_BYTES")
    )
    """Bytes of an agent's output that are kept; the rest is read and dropped."""
    dry_run: bool = Field(False, validation_alias=_named("dry_run", "DRY_RUN"))
    """Print the plan, write nothing."""
    profile: str = Field("", validation_alias=_named("profile", "AGENTD_PROFILE"))
    """Profile of tasks without a `profile:<name>` label; empty takes the only one, or `build`."""
    profiles: dict[str, Profile] = Field(default_factory=dict)
    """`[profiles.<name>]`: the agents that may be used."""
    trust: Trust = Trust()
    retries: Retries = Retries()
    claim: ClaimSettings = ClaimSettings()
    diff: DiffSettings = DiffSettings()
    retention: Retention = Retention()
    lockfiles: LockfileSettings = LockfileSettings()
    gateway: GatewaySettings = GatewaySettings()
    budgets: Budgets = Budgets()
    ledger: LedgerSettings = LedgerSettings()
    tracing: TracingSettings = TracingSettings()
    run_controls: RunControls = RunControls()
    policy: Path | None = Field(None, validation_alias=_named("policy", "AGENTD_POLICY"))
    """The policy document, usually `policy.yaml`, relative to the folder of agentd.toml; empty takes the built-in one,
    which `agentd policy show` prints."""
    state_dir: Path = Field(Path("~/.agentd/state"), validation_alias=_named("state_dir", "AGENT_STATE_DIR"))
    """Store, mirror, pid file, runs.json."""
    log_dir: Path = Field(Path("~/.agentd/logs"), validation_alias=_named("log_dir", "AGENT_LOG_DIR"))
    """events.jsonl and the logs of runs."""
    events_file: Path | None = Field(None, validation_alias=_named("events_file", "AGENT_EVENTS_FILE"))
    """Where the events are written, one JSON object a line; empty takes events.jsonl in log_dir."""
    worktree_base: Path | None = Field(None, validation_alias=_named("worktree_base", "WORKTREE_BASE"))
    """Folder of the workspaces, one for each task; empty takes `~/worktrees/<owner>/<name>`."""
    layout: LayoutChoice = Field("auto", validation_alias=_named("layout", "AGENTD_WORKSPACE_LAYOUT"))
    """How workspaces are made. `clone`: a clone with all files, for each. `overlay`: what a run writes lies over one
    checkout that all runs from the same commit share; needs the sandbox and a kernel that allows it. `worktree`: a
    linked worktree of the mirror, only for profiles with `trusted = true`. `auto`: an overlay where one was tried and
    works, else a clone."""
    repo_root: Path = Field(Path(), validation_alias=_named("repo_root", "REPO_ROOT"))
    """Checkout that holds `tasks/` and prompt templates."""
    database_url: str = Field("", validation_alias=_named("database_url", "AGENTD_DATABASE_URL"))
    """`postgresql+psycopg://...` for a fleet; empty keeps a SQLite file in the state directory."""
    agent_git_name: str = Field("agentd", validation_alias=_named("agent_git_name", "AGENT_GIT_NAME"))
    """Author and committer of agentd's commits."""
    agent_git_email: str = Field(
        "agentd@users.noreply.github.com", validation_alias=_named("agent_git_email", "AGENT_GIT_EMAIL")
    )
    deepagents_agent: str = Field("build", validation_alias=_named("deepagents_agent", "DEEPAGENTS_AGENT"))
    """Agent name of the built-in Deep Agents profile."""
    deepagents_model: str = Field("", validation_alias=_named("deepagents_model", "DEEPAGENTS_MODEL"))
    """Model of the built-in Deep Agents profile."""
    deepagents_shell_allow_list: str = Field(
        "", validation_alias=_named("deepagents_shell_allow_list", "DEEPAGENTS_SHELL_ALLOW_LIST")
    )
    """Comma-separated commands of the built-in Deep Agents profile; empty takes the default list."""
    disable_lockfile_auto_resolve: bool = Field(
        False, validation_alias=_named("disable_lockfile_auto_resolve", "DISABLE_LOCKFILE_AUTO_RESOLVE")
    )
    """Treat a conflict in a lockfile like any other conflict."""
    agent_debug: bool = Field(False, validation_alias=_named("agent_debug", "AGENT_DEBUG"))
    """Log every decision, not only those that change something."""

    @field_validator("repo")
    @classmethod
    def _repo_shape(cls, value: str) -> str:
        parts = value.split("/")
        legal = all(part and all(c.isalnum() or c in "-._" for c in part) and part not in {".", ".."} for part in parts)
        if value and (len(parts) != 2 or not legal):
            raise ValueError("must be owner/name")
        return value

    @field_validator("token")
    @classmethod
    def _one_word(cls, value: SecretStr) -> SecretStr:
        """Anything else is no header (RFC 9110, section 5.5), and errors about headers quote them."""
        if not all("!" <= c <= "~" for c in value.get_secret_value()):
            said = "holds a line break, a space, or a character that is neither a letter, a digit nor a sign of ASCII"
            raise ValueError(f"{said}; it must be the token alone")
        return value

    @field_validator("github_api_url", "github_server_url")
    @classmethod
    def _url_shape(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("must begin with https:// or http:// and name a host")
        return value.rstrip("/")

    @field_validator("state_dir", "log_dir", "events_file", "worktree_base", "repo_root", "policy")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @property
    def workspaces(self) -> Path:
        """Folder of this repository's workspaces."""
        return self.worktree_base or Path("~/worktrees").expanduser().absolute() / (self.repo or "repository")

    @property
    def events(self) -> Path:
        """The file of events."""
        return self.events_file or self.log_dir / "events.jsonl"

    @property
    def remote_url(self) -> str:
        """Where git fetches from and pushes to; never holds a credential."""
        return f"{self.github_server_url}/{self.repo}.git"

    @property
    def default_profile(self) -> str:
        """Name of the profile that tasks without a label use."""
        if self.profile:
            return self.profile
        return next(iter(self.profiles)) if len(self.profiles) == 1 else "build"

    def profile_named(self, name: str) -> Profile:
        """The profile, the built-in `build` (Deep Agents) included. Raises ConfigurationError naming the setting."""
        if name in self.profiles:
            return self.profiles[name]
        if name == "build":
            allowed = tuple(word.strip() for word in self.deepagents_shell_allow_list.split(",") if word.strip())
            return Profile(
                name="build",
                adapter="deepagents",
                agent=self.deepagents_agent,
                model=self.deepagents_model,
                shell_allow=allowed,
            )
        known = ", ".join(sorted({*self.profiles, "build"}))
        raise ConfigurationError(f"profile {name!r} is not defined; agentd.toml has: {known}")


def environment_names(field: str) -> tuple[str, ...]:
    """The environment variables of a setting, the first being the preferred one."""
    alias = Settings.model_fields[field].validation_alias
    return tuple(str(choice) for choice in alias.choices[1:]) if isinstance(alias, AliasChoices) else ()
