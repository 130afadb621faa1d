"""The record of every request that reached the practice GitHub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True)
class RequestRecord:
    """One request and what became of it."""

    method: str
    path: str
    """As asked, without the query and without the prefix /api/v3 or /api."""
    query: str
    status: int
    """0 when the connection was dropped."""
    user: str | None
    """Login, None for an anonymous request or an unknown token."""
    charged: bool
    """Whether it cost a point of the primary rate limit."""
    body: bytes | None
    at: datetime
    kind: Literal["rest", "graphql", "git"]
    headers: Mapping[str, str] = field(default_factory=dict)
    """As sent, names in lower case, without the credential."""


@dataclass
class Seen:
    """What becomes known of a request while it is answered."""

    path: str
    body: bytes
    user: str | None = None
    charged: bool = False
