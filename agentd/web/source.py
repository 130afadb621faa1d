"""Where the page gets what it shows: the store, the files of runs, the mirror, and who supervises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from agentd.agents.environment import secret_values
from agentd.clock import Clock
from agentd.config import Settings
from agentd.doctor.secrecy import without_any
from agentd.errors import AgentdError
from agentd.loading import Loaded
from agentd.sandbox.redact import redact
from agentd.store.connection import Store, open_store


class NotHere(AgentdError):
    """What was asked for is not there; the message says what."""


@dataclass(frozen=True)
class Source:
    """Doors of one page. It reads; orders open the store for writing while they are given."""

    loaded: Loaded
    folder: Path
    """where agentd.toml and tasks/ are"""
    clock: Clock
    environ: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    @cached_property
    def store(self) -> Store:
        """For reading. Raises StoreError while there is none."""
        return self._open(read_only=True)

    def for_orders(self) -> Store:
        """For writing; close it."""
        return self._open(read_only=False)

    def _open(self, *, read_only: bool) -> Store:
        settings = self.settings
        return open_store(settings.database_url, settings.state_dir, self.clock, create=False, read_only=read_only)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that nothing shown may hold."""
        token = self.settings.token.get_secret_value()
        return (*([token] if token else []), *secret_values(self.environ))

    def cleaned(self, value: Any) -> Any:
        """A JSON value without secrets."""
        text, secrets = json.dumps(value, ensure_ascii=False), self.secrets
        return value if redact(text, secrets) == text else without_any(value, secrets)

    def log_of(self, run_id: str) -> Path:
        """The log of a run's programs, on the host that carries it."""
        return self.settings.log_dir / "workers" / f"{run_id}.log"

    def run_dir(self, run_id: str) -> Path:
        """Files of a run, on the host that carries it."""
        return self.settings.state_dir / "runs" / run_id
