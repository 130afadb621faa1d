"""Who has the claim of a task on the remote, for somebody who only looks and has no mirror."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from agentd.errors import NotFound
from agentd.git.naming import claim_ref
from agentd.github.answers import expecting
from agentd.github.client import GitHub
from agentd.plain import one_line

LONGEST_LEASE_SECONDS = 86_400.0
UNREADABLE_SECONDS = 600.0
"""Lease of a claim whose text nobody can read."""


@dataclass(frozen=True)
class RemoteClaim:
    """A claim as its own text says; nobody need believe it."""

    holder: str
    installation: str
    until: datetime
    """end of its lease by its holder's clock, unless it is renewed"""


def remote_claim(gh: GitHub, task_id: str) -> RemoteClaim | None:
    """The claim, or None when nobody has it. 2 requests. Raises GitHubError."""
    try:
        found = gh.request("GET", f"{gh.base}/git/ref/{quote(claim_ref(task_id).removeprefix('refs/'))}").data
        with expecting(f"the claim of {task_id}"):
            sha = str(found["object"]["sha"])
        commit = gh.request("GET", f"{gh.base}/git/commits/{quote(sha)}").data
    except NotFound:
        return None
    try:
        words = json.loads(commit["message"])
        lease = min(LONGEST_LEASE_SECONDS, max(1.0, float(words["lease_seconds"])))
        until = datetime.fromisoformat(str(words["at"])) + timedelta(seconds=lease)
        if until.tzinfo is None:
            raise ValueError("a time without a zone")
        return RemoteClaim(one_line(str(words["holder"]), 200), str(words["installation"])[:64], until)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        with expecting(f"the claim of {task_id}"):
            made = datetime.fromisoformat(str(commit["committer"]["date"]))
        return RemoteClaim("an unreadable claim", "", made + timedelta(seconds=UNREADABLE_SECONDS))
