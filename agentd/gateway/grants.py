"""What a run is given: a grant, a key for it, and what its owner is told."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentd.model import Profile, Verdict, canonical_json

KEY_PREFIX = "avk_"
_SHAPE = re.compile(r"avk_[A-Za-z0-9._:-]{1,200}_[A-Za-z0-9]{32}")


@dataclass(frozen=True)
class Grant:
    """What a run may ask a model for."""

    run_id: str
    task_id: str
    profile: str
    """a profile's name"""
    models: tuple[str, ...] = ()
    """models that it may name; empty allows any"""
    request_extra: Mapping[str, Any] = field(default_factory=dict)
    """JSON that is merged into every request; it wins"""
    seconds: float = 86400.0
    """how long its key is good"""


@dataclass(frozen=True)
class Notice:
    """What the owner of a run is told while it goes on."""

    kind: Literal["soft", "hard", "quota", "auth", "upstream"]
    """soft: a warning; hard: the run has reached a limit and is to end; quota: the real key has nothing left until
    `verdict.retry_at`, its scope names the credential; auth: the real key is refused; upstream: the service has
    trouble"""
    run_id: str
    verdict: Verdict


@dataclass(frozen=True)
class Access:
    """How a run reaches its gateway."""

    key: str
    port: int | None
    """on loopback; None for a unix socket"""


def grant_for(profile: Profile, run_id: str, task_id: str, seconds: float) -> Grant:
    """What a run of a profile may ask for: its model and those beside it, or any when it lists none."""
    models = (profile.model, *profile.models) if profile.models and profile.model else profile.models
    return Grant(run_id, task_id, profile.name, models, profile.request_extra, seconds)


def make_key(run_id: str) -> str:
    """A new key: `avk_<run id>_<random>`, the random part with 190 bits."""
    named = re.sub(r"[^A-Za-z0-9._:-]", "-", run_id)[:200] or "run"
    return f"{KEY_PREFIX}{named}_{_random(32)}"


def hash_of(key: str) -> str | None:
    """The sha256 of what may be a key; None for what cannot be one."""
    return hashlib.sha256(key.encode()).hexdigest() if _SHAPE.fullmatch(key) else None


def extra_hash(extra: Mapping[str, Any]) -> str:
    """The sha256 of the canonical JSON of a request_extra; empty without one."""
    return hashlib.sha256(canonical_json(dict(extra)).encode()).hexdigest() if extra else ""


def _random(length: int) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return "".join(secrets.choice(alphabet) for _ in range(length))
