"""What an operator orders of what runs and what is to start, on the command line and on the page alike."""

from __future__ import annotations

import os

from agentd.config import Settings
from agentd.errors import AgentdError, ConfigurationError
from agentd.model import Decision, Verdict
from agentd.states import ACTIVE
from agentd.store import holds, runs, verdicts
from agentd.store.connection import Store
from agentd.store.verdicts import About
from agentd.supervisor.process import NUDGE, running


def pause(store: Store, settings: Settings, reason: str = "", profile: str | None = None) -> Verdict:
    """Start nothing more, of one profile or at all; the hold that says so. Raises ConfigurationError."""
    if profile is not None:
        settings.profile_named(profile)
    verdict = Verdict(
        control="operator",
        rule_id="paused",
        decision=Decision.hold,
        scope=holds.pause_scope(profile),
        observed=f"paused by the operator{': ' + reason if reason else ''}",
        action=f"agentd resume --profile {profile}" if profile else "agentd resume",
    )
    verdicts.hold(store, verdict, About(settings.repo, "supervisor"))
    return verdict


def resume(store: Store, profile: str | None = None) -> bool:
    """End a pause; False when there was none."""
    return holds.lift(store, holds.pause_scope(profile))


def cancel(store: Store, run_id: str) -> None:
    """Ask for the end of a run; whoever carries it obeys at the next beat. Raises ConfigurationError."""
    run = runs.get_run(store, run_id)
    if run is None:
        raise ConfigurationError(f"{run_id}: no such run; `agentd runs list` shows them")
    if run.state not in ACTIVE:
        raise ConfigurationError(f"{run_id}: is over already ({run.state})")
    runs.update_run(store, run_id, cancel_reason="cancelled by the operator")


def refresh(settings: Settings) -> None:
    """Let the supervisor of this state directory look at GitHub now. Raises AgentdError when there is none."""
    supervisor = running(settings.state_dir)
    if supervisor is None:
        raise AgentdError("no supervisor runs on this state directory; `agentd start` starts one")
    os.kill(supervisor.pid, NUDGE)
