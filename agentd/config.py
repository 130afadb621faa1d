"""Every setting, defined once; agentd.loading reads them: flags > environment > agentd.toml > defaults.

The reference page, `agentd config show` and the template of `agentd init` are made from this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, ConfigDict, Field, SecretStr, field_validator

from agentd.config_tables import (
    ClaimSettings,
    DiffSettings,
    GatewaySettings,
    LedgerSettings,
    LockfileSettings,
    Retention,
    Retries,
    TracingSettings,
    Trust,
)
from agentd.errors import ConfigurationError
from agentd.model import Frozen, Profile
from agentd.policy.budget_settings import Budgets
from agentd.policy.run_controls import RunControls

TOKEN_VARIABLES = ("EXECUTOR_BOT_TOKEN", "GITHUB_TOKEN", "GH_TOKEN")
SandboxMode = Literal["required", "none"]
LayoutChoice = Literal["auto", "clone", "overlay", "worktree"]


def _named(field: str, *variables: str) -> AliasChoices:
    """The key in agentd.toml, then the environment variables that set the same thing."""
    return AliasChoices(field, *variables)


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
