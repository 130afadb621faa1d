"""Which headers go out and come back. Credentials do not, neither the run's nor the real ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from agentd.gateway.grants import KEY_PREFIX
from agentd.gateway.upstreams import Upstream

_HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
    *("trailer", "transfer-encoding", "upgrade", "host", "content-length", "expect", "date", "server"),
}
_NOT_OUT = _HOP_BY_HOP | {"accept-encoding", "content-encoding", "forwarded", "via"}
_NOT_BACK = _HOP_BY_HOP | {"set-cookie", "set-cookie2", "www-authenticate", "alt-svc"}
_CREDENTIAL = re.compile(
    r"auth|key|token|secret|cookie|credential|passw|^x-forwarded|^x-agentd|^openai-(org|proj)", re.I
)
_CREDENTIAL_PARAMETER = re.compile(r"auth|key|token|secret|passw", re.I)


def outgoing(client: CIMultiDictProxy[str], upstream: Upstream) -> CIMultiDict[str]:
    """The headers of a call to the service: the client's without any credential, and the real key."""
    found: CIMultiDict[str] = CIMultiDict()
    named = {name.strip().lower() for name in client.get(hdrs.CONNECTION, "").split(",")}
    for name, value in client.items():
        if not _may_go_out(name.lower()) or name.lower() in named or KEY_PREFIX in value:
            continue
        found.add(name, value)
    if upstream.beta:
        found["anthropic-beta"] = ",".join(filter(None, (found.get("anthropic-beta"), upstream.beta)))
    # A compressed answer could not be read on its way.
    found["accept-encoding"] = "identity"
    for name, secret in upstream.headers.items():
        found[name] = secret.get_secret_value()
    return found


@lru_cache(maxsize=1000)
def _may_go_out(lower: str) -> bool:
    return lower not in _NOT_OUT and not _CREDENTIAL.search(lower)


def incoming(answer: CIMultiDictProxy[str], secrets: Iterable[str]) -> CIMultiDict[str]:
    """The headers of a service's answer as the client gets them."""
    hidden = [secret for secret in secrets if secret]
    found: CIMultiDict[str] = CIMultiDict()
    for name, value in answer.items():
        lower = name.lower()
        if lower in _NOT_BACK or lower.startswith("x-agentd") or any(secret in value for secret in hidden):
            continue
        found.add(name, value)
    return found


def query_of(query: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the address that go on to the service."""
    kept = {}
    for name, value in query.items():
        if not _CREDENTIAL_PARAMETER.search(name) and KEY_PREFIX not in value:
            kept[name] = value
    return kept


def without(body: bytes, secrets: Iterable[str]) -> bytes:
    """The text of an error with real keys taken out: some services repeat them."""
    for secret in secrets:
        if secret:
            body = body.replace(secret.encode(), b"***REDACTED***")
    return body
