"""One request to the gateway, as it comes in and as it goes on to the service."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agentd.config_tables import Dialect
from agentd.gateway import refusals
from agentd.gateway.doors import Hall
from agentd.gateway.grants import Grant, extra_hash, hash_of
from agentd.gateway.headers import outgoing, query_of
from agentd.gateway.refusals import Refused
from agentd.gateway.upstreams import Upstream

BODY_SECONDS = 60.0
"""How long a client may take to send its request."""
CONNECT_SECONDS = 15.0


@dataclass
class Visit:
    """One request and what is known of it so far."""

    request: web.BaseRequest
    dialect: Dialect
    request_id: str = field(default_factory=lambda: f"agentd-{uuid.uuid4().hex}")
    grant: Grant | None = None

    def headers(self, retryable: bool | None = None) -> dict[str, str]:
        """The gateway's own headers."""
        found = {"x-agentd-request-id": self.request_id}
        if self.grant is not None:
            found |= {"x-agentd-run": self.grant.run_id, "x-agentd-profile": self.grant.profile}
            if self.grant.request_extra:
                found["x-agentd-extra"] = extra_hash(self.grant.request_extra)
        if retryable is not None:
            found["x-agentd-retryable"] = str(retryable).lower()
        return found

    @property
    def granted(self) -> Grant:
        """Whose the request is; known once its key was read."""
        assert self.grant is not None
        return self.grant


async def body_of(request: web.BaseRequest, most: int) -> bytes:
    """The request's bytes. Raises Refused when there are too many, or too slow, or not what was announced."""
    too_long = Refused(413, "request_too_large", f"agentd gateway: a request may have {most} bytes")
    if (request.content_length or 0) > most:
        raise too_long
    if request.headers.get("expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            found = await whole(request.content, most)
    except TimeoutError:
        raise Refused(408, "request_timeout", f"agentd gateway: no whole request in {BODY_SECONDS:g} s") from None
    except (aiohttp.ClientPayloadError, web.RequestPayloadError, HttpProcessingError):
        raise Refused(400, "invalid_request", "agentd gateway: the body is not as its headers say") from None
    if found is None:
        raise too_long
    return found


async def whole(content: aiohttp.StreamReader, most: int) -> bytes | None:
    """All bytes of a request or an answer, None when there are more than `most`.

    Not `content.read(most)`, which returns with what has come so far.
    """
    found = bytearray()
    while piece := await content.readany():
        found += piece
        if len(found) > most:
            return None
    return bytes(found)


def key_hash_of(request: web.BaseRequest) -> str:
    """The hash of the key, from either header. Raises Refused."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    for key in (request.headers.get("x-api-key", ""), bearer.strip() if scheme.lower() == "bearer" else ""):
        found = hash_of(key)
        if found is not None:
            return found
    raise refusals.no_key()


def require_model(grant: Grant, model: str) -> None:
    """Raises Refused when the run may not use the model."""
    if grant.models and model not in grant.models:
        allowed = ", ".join(grant.models)
        raise Refused(403, "model_not_allowed", f"agentd gateway: this run may use {allowed}, not {model}")


def upstream_for(hall: Hall, dialect: Dialect, model: str) -> Upstream:
    """The service that speaks the dialect and has the model. Raises Refused."""
    found = hall.upstreams.of(dialect, model)
    if found is None:
        raise Refused(400, "no_upstream", f"agentd gateway: no service speaks {dialect} and has the model {model}")
    return found


@asynccontextmanager
async def sent(
    hall: Hall, visit: Visit, upstream: Upstream, url: str, method: str, body: bytes | None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A request to the service; a redirect is never followed, it would take the key along. Raises ClientError."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=upstream.timeout_seconds)
    request = visit.request
    answer = await hall.session.request(
        method,
        url,
        params=query_of(request.query) if request.query_string else None,
        data=body,
        headers=outgoing(request.headers, upstream),
        proxy=upstream.proxy,
        timeout=timeout,
        allow_redirects=False,
    )
    try:
        yield answer
    finally:
        # Bytes that nobody wants any more are not waited for: the service stops, too.
        answer.release() if answer.content.at_eof() else answer.close()
