"""Everything that a client is told instead of an answer, and what a service's own errors become."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from agentd.gateway.upstreams import Upstream
from agentd.model import Decision, Verdict
from agentd.policy.budgets import retry_after_seconds

QUOTA_SECONDS = 300
"""Wait for a quota that does not say when it resets."""
LONG_SECONDS = 60
"""A longer wait is no passing limit: the credential has nothing left."""
LONGEST_QUOTA = timedelta(days=8)
ROOM_SECONDS = 5
"""What a client is told to wait when calls on their way hold a budget's rest."""
_QUOTA_WORDS = (
    b"insufficient_quota",
    b"usage limit",
    b"usage_limit_reached",
    b"exceeded your current quota",
    b"billing_hard_limit_reached",
    b"budget_exceeded",
)
_NO_CREDIT = {
    400: ("Your credit balance is too low", "You have reached your specified API usage limits"),
    403: ("Key limit exceeded",),
}
"""By status, how the sentences of Anthropic and OpenRouter begin."""
_REGAIN = re.compile(r"regain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC")


@dataclass(eq=False)
class Refused(Exception):
    """An answer that is an error."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    is_retryable: bool = False


@dataclass(frozen=True)
class Trouble:
    """What a service's error means: the answer to the client, and what the run's owner is told."""

    refused: Refused
    kind: str
    """quota, auth or upstream"""
    verdict: Verdict


def no_key() -> Refused:
    """401, for every key that is none: missing, forged, expired, revoked, or another listener's."""
    return Refused(401, "invalid_api_key", "agentd gateway: the key is missing, or good no more")


def over_budget(verdict: Verdict, now: datetime) -> Refused:
    """429 that a client must not repeat."""
    headers = {"retry-after": str(retry_after_seconds(verdict, now)), "x-should-retry": "false"}
    message = f"agentd budget {verdict.rule_id}: {verdict.observed}, limit {verdict.limit}"
    return Refused(429, "budget_exceeded", message, headers)


def no_room(verdict: Verdict) -> Refused:
    """429 that a client may repeat: calls on their way hold what is left of a budget."""
    message = f"agentd budget {verdict.rule_id}: {verdict.observed}, limit {verdict.limit}"
    return Refused(429, "budget_busy", message, {"retry-after": str(ROOM_SECONDS)}, is_retryable=True)


def no_price(scope: str, model: str) -> tuple[Refused, Verdict]:
    """400: money is limited and nobody knows what the model costs."""
    setting = f'[gateway.prices."{model}"]'
    verdict = Verdict(
        control="budget",
        rule_id="budget_no_price",
        decision=Decision.deny,
        scope=scope,
        observed=f"no price is known for model {model}",
        limit="usd",
        action=f"set {setting} in agentd.toml, or limit tokens instead of usd",
    )
    message = f"agentd budget: no price is known for model {model}, and {scope} is limited in usd; set {setting}"
    return Refused(400, "budget_no_price", message), verdict


def trouble_of(
    upstream: Upstream, status: int, headers: Mapping[str, str], body: bytes, now: datetime
) -> Trouble | None:
    """What a service's error becomes; None for one that is passed on as it is."""
    seconds = _retry_after(headers, now)
    wait = {} if seconds is None else {"retry-after": str(max(1, round(seconds)))}
    if _is_quota(status, seconds, body):
        return _quota(upstream, seconds, headers, body, now)
    if status == 429:
        said = f"{upstream.name} limits its rate"
        refused = Refused(529, "provider_rate_limited", f"agentd gateway: {said}", wait, is_retryable=True)
        return Trouble(refused, "upstream", _verdict("provider_rate_limited", upstream, said))
    if status in (401, 403):
        said = f"{upstream.name} refuses the credential ({status})"
        refused = Refused(502, "provider_auth_error", f"agentd gateway: {said}", {"x-should-retry": "false"})
        return Trouble(refused, "auth", _verdict("provider_auth_error", upstream, said))
    if status >= 500:
        said = f"{upstream.name} answered {status}"
        refused = Refused(502, "provider_internal_error", f"agentd gateway: {said}", wait, is_retryable=True)
        return Trouble(refused, "upstream", _verdict("provider_internal_error", upstream, said))
    if status < 200 or 300 <= status < 400:
        said = f"{upstream.name} answered {status}, which is no answer of a model"
        refused = Refused(502, "provider_error", f"agentd gateway: {said}")
        return Trouble(refused, "upstream", _verdict("provider_error", upstream, said))
    return None


def unreachable(upstream: Upstream, error: BaseException) -> Trouble:
    """A service that cannot be reached, or fell silent."""
    said = f"{upstream.name} cannot be reached or broke off ({type(error).__name__})"
    refused = Refused(502, "provider_connection_error", f"agentd gateway: {said}", is_retryable=True)
    return Trouble(refused, "upstream", _verdict("provider_connection_error", upstream, said))


def _is_quota(status: int, seconds: float | None, body: bytes) -> bool:
    if status == 402:
        return True
    if status == 429:
        return (seconds is not None and seconds > LONG_SECONDS) or any(word in body.lower() for word in _QUOTA_WORDS)
    # Other errors may repeat words of the request, which is the agent's; these are sentences and a type of services'.
    error = _error(body)
    is_budget = status == 400 and error.get("type") == "budget_exceeded"  # LiteLLM's
    return is_budget or str(error.get("message", "")).startswith(_NO_CREDIT.get(status, ()))


def _quota(
    upstream: Upstream, seconds: float | None, headers: Mapping[str, str], body: bytes, now: datetime
) -> Trouble:
    retry_at = _reset(seconds, headers, body, now)
    wait = str(max(1, round((retry_at - now).total_seconds())))
    said = f"{upstream.name} has no quota left for this credential"
    refused = Refused(
        429, "provider_quota_exhausted", f"agentd gateway: {said}", {"retry-after": wait, "x-should-retry": "false"}
    )
    verdict = _verdict("provider_quota", upstream, said).model_copy(
        update={"retry_at": retry_at, "action": "wait, or use another credential"}
    )
    return Trouble(refused, "quota", verdict)


def _reset(seconds: float | None, headers: Mapping[str, str], body: bytes, now: datetime) -> datetime:
    """When the quota is there again, at most LONGEST_QUOTA from now."""
    error = _error(body)
    told = error.get("resets_at") or headers.get("anthropic-ratelimit-unified-reset")
    if seconds is None:
        seconds = _number(error.get("resets_in_seconds"))
    if seconds is None and (epoch := _number(told)) is not None:
        seconds = epoch - now.timestamp()
    if seconds is None and (found := _REGAIN.search(str(error.get("message", "")))):
        seconds = _seconds_until(f"{found[1]}T{found[2]}+00:00", now)
    if seconds is None or seconds <= 0:
        seconds = QUOTA_SECONDS
    return now + min(timedelta(seconds=min(seconds, 1e8)), LONGEST_QUOTA)


def _seconds_until(moment: str, now: datetime) -> float | None:
    try:
        return (datetime.fromisoformat(moment) - now).total_seconds()
    except ValueError:
        return None


def _verdict(rule: str, upstream: Upstream, said: str) -> Verdict:
    return Verdict(
        control="provider",
        rule_id=rule,
        decision=Decision.hold,
        scope=upstream.credential,
        observed=said,
    )


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds; the header holds them, or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after", "")
    if (number := _number(value)) is not None:
        return max(0.0, number)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if abs(found) < 1e12 else None


def _error(body: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {}
