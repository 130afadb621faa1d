"""Opening the door to GitHub, with everything that is wrong with token, repository and base said at once."""

from __future__ import annotations

import time

from agentd.clock import Clock
from agentd.config import Settings
from agentd.errors import ConfigurationError, RateLimited
from agentd.github.client import GitHub, connect
from agentd.github.identity import check_rights
from agentd.model import Decision
from agentd.store.connection import Store
from agentd.store.etags import StoredEtags


def open_github(settings: Settings, store: Store, clock: Clock, *, read_only: bool = False) -> GitHub:
    """A checked connection. Raises ConfigurationError; for reading, a token without write access is good enough."""
    github = connect(
        settings.github_api_url,
        settings.token.get_secret_value(),
        settings.repo,
        clock=clock.now,
        sleep=time.sleep,
        cache=StoredEtags(store),
    )
    try:
        verdicts = check_rights(github, settings.base_branch)
    except RateLimited:
        return github  # the first tick waits until the limit is over; what is wrong shows where it is missed
    wrong = [
        verdict
        for verdict in verdicts
        if verdict.decision is not Decision.allow and not (read_only and verdict.rule_id == "write_access")
    ]
    if wrong:
        raise ConfigurationError("; ".join(f"{v.observed}: {v.action}" if v.action else v.observed for v in wrong))
    return github
