"""What the doctor looks at: settings, store, GitHub and mirror, each opened once, for reading only.

A door that does not open is one finding of the group that it belongs to, and nothing for the others.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from agentd.clock import Clock, SystemClock
from agentd.config import Settings
from agentd.contracts import Contracts, read_contracts
from agentd.doctor.secrecy import secrets_of
from agentd.errors import ConfigurationError, GitError, GitHubError, StoreError
from agentd.git.mirror import Mirror, known_mirror
from agentd.github.client import GitHub, connect
from agentd.github.labels import READY
from agentd.github.poller import poll_issues
from agentd.loading import Loaded
from agentd.model import Issue, Run, Verdict
from agentd.store import claims, executors, holds, runs
from agentd.store.claims import ClaimRow
from agentd.store.connection import Store, open_store
from agentd.store.etags import RecalledEtags
from agentd.store.executors import Executor

ANSWER_SECONDS = 5
"""How long one answer of GitHub is waited for."""
BUSY_SECONDS = 2.0
"""How long another program may hold the lock of the store's file."""


@dataclass
class Visit:
    """One look at an installation. Its parts are safe to use from several threads."""

    loaded: Loaded
    environ: Mapping[str, str]
    folder: Path
    """where the command was started"""
    config: Path | None = None
    """the settings file that the command line named"""
    smoke: bool = False
    clock: Clock = field(default_factory=SystemClock)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    @cached_property
    def now(self) -> datetime:
        return self.clock.now()

    @cached_property
    def _store(self) -> Store | StoreError | ConfigurationError | None:
        settings = self.settings
        if not settings.database_url and not (settings.state_dir / "agentd.db").is_file():
            return None
        try:
            return open_store(
                settings.database_url,
                settings.state_dir,
                self.clock,
                create=False,
                read_only=True,
                busy_seconds=BUSY_SECONDS,
            )
        except (StoreError, ConfigurationError) as error:
            return error

    @property
    def store(self) -> Store | None:
        """None when there is none yet, or it cannot be opened."""
        with self._lock:
            found = self._store
        return found if isinstance(found, Store) else None

    @property
    def store_trouble(self) -> str:
        """Why the store cannot be opened; empty when it can, or is not there."""
        with self._lock:
            found = self._store
        return str(found) if isinstance(found, Exception) else ""

    @cached_property
    def active(self) -> list[Run]:
        """Runs that hold a slot."""
        return runs.active_runs(self.store) if self.store else []

    @cached_property
    def latest(self) -> dict[str, runs.Last]:
        """Each task's newest run."""
        with self._lock:
            return runs.last_by_task(self.store) if self.store else {}

    @cached_property
    def claims(self) -> list[ClaimRow]:
        return claims.list_claims(self.store) if self.store else []

    @cached_property
    def executors(self) -> list[Executor]:
        return executors.all_executors(self.store) if self.store else []

    @cached_property
    def holds(self) -> dict[str, Verdict]:
        return holds.holds(self.store) if self.store else {}

    @cached_property
    def contracts(self) -> Contracts:
        return read_contracts(self.settings.repo_root / "tasks")

    @cached_property
    def github(self) -> GitHub | None:
        """A connection that waits for nothing; None without a repository or a token."""
        settings = self.settings
        token = settings.token.get_secret_value()
        if not settings.repo or not token:
            return None
        return connect(
            settings.github_api_url,
            token,
            settings.repo,
            clock=self.clock.now,
            sleep=lambda seconds: None,
            cache=RecalledEtags(self.store),
            reserve=0,
            timeout_seconds=ANSWER_SECONDS,
        )

    @cached_property
    def _issues(self) -> list[Issue] | None:
        github = self.github
        if github is None:
            return None
        try:
            return poll_issues(github, READY)
        except GitHubError:
            return None  # the group github says so

    @property
    def issues(self) -> list[Issue] | None:
        """Open issues with the label agent-ready; None when GitHub does not say."""
        with self._lock:
            return self._issues

    @cached_property
    def mirror(self) -> Mirror | None:
        try:
            return known_mirror(self.settings) if self.settings.repo else None
        except (ConfigurationError, GitError, ValueError):
            return None

    def agentd(self, *words: str) -> str:
        """A command line of agentd for this installation, to be pasted."""
        config = ["--config", str(self.config)] if self.config and words[0] != "init" else []
        return shlex.join(["agentd", *words, *config])

    def argv(self, *words: str) -> tuple[str, ...]:
        """The same for programs."""
        return tuple(shlex.split(self.agentd(*words)))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that no report may hold."""
        return secrets_of(self.settings, self.environ)
