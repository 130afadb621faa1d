"""The evidence of a run from where everything is: store, mirror and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agentd import __version__
from agentd.agents.environment import secret_values
from agentd.config import Settings
from agentd.errors import GitError
from agentd.evidence import writing
from agentd.evidence.files import About, evidence_of
from agentd.git.mirror import Mirror
from agentd.model import Run
from agentd.store import runs
from agentd.store.connection import Store
from agentd.store.ledger import hash_of
from agentd.trace.record import record_of
from agentd.trace.span import RunRecord


@dataclass(frozen=True)
class Sources:
    """What evidence is made from."""

    settings: Settings
    store: Store
    mirror: Mirror | None
    environ: Mapping[str, str]
    """agentd's own environment, for the secrets and the HOME in it"""
    policy_sha: str = ""

    def folder(self, run_id: str) -> Path:
        """Where the evidence of a run is."""
        return self.settings.state_dir / "runs" / run_id / writing.FOLDER


def evidence_for(sources: Sources, run_id: str) -> dict[str, bytes]:
    """The files as the store has them now. Raises LookupError for a run that it does not have."""
    record = record_of(sources.store, run_id, sources.settings.repo)
    return evidence_of(record, patch_for(sources, record.run), about(sources, record), cleaner_of(sources, record.run))


def patch_for(sources: Sources, run: Run) -> str:
    """What the run changed; empty where the mirror does not have it any more."""
    with suppress(GitError):
        return "" if sources.mirror is None else writing.patch_of(sources.mirror, run)
    return ""


def about(sources: Sources, record: RunRecord) -> About:
    """What stands in the manifest beside the record."""
    last = record.events[-1][0] if record.events else 0
    ledger = (last, hash_of(sources.store, last))
    return About(__version__, sources.policy_sha, ledger, record.ended_at.isoformat())


def cleaner_of(sources: Sources, run: Run) -> Callable[[str], str]:
    """Takes out secrets, and paths that only this machine has."""
    settings, environ = sources.settings, sources.environ
    places = {
        run.workspace or str(settings.workspaces / run.task_id): "<repo>",
        str(settings.workspaces): "<workspaces>",
        str(settings.state_dir / "runs" / run.run_id): "<run-files>",
        str(settings.state_dir): "<state>",
        str(settings.log_dir): "<logs>",
        str(settings.repo_root): "<checkout>",
        environ.get("HOME", ""): "<home>",
    }
    profile = runs.order_of(sources.store, run.run_id).get("profile", {})
    token = settings.token.get_secret_value()
    secrets = (*([token] if token else []), *secret_values(environ), *secret_values(profile.get("env", {})))
    return writing.cleaner(secrets, places)
