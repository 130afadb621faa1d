"""One HTTP request through the gateway: whose it is, whether it may go out, out and back, and what it used."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agentd.config import Dialect
from agentd.errors import StoreError
from agentd.gateway import refusals
from agentd.gateway.dialects import (
    COUNT_TOKENS,
    MODELS,
    PATHS,
    BadRequest,
    error_body,
    model_of,
    parse_object,
    read_request,
)
from agentd.gateway.doors import Door, Hall
from agentd.gateway.grants import Grant, extra_hash, hash_of
from agentd.gateway.headers import incoming, outgoing, query_of, without
from agentd.gateway.refusals import Refused, Trouble
from agentd.gateway.tickets import Ticket, slip_of
from agentd.gateway.upstreams import Upstream
from agentd.gateway.usage import Tee
from agentd.policy.budget_settings import Caller
from agentd.policy.budgets import needs_price

BODY_SECONDS = 60.0
"""How long a client may take to send its request."""
CONNECT_SECONDS = 15.0
LONGEST_ERROR = 1024 * 1024
AT_ONCE_BYTES = 4 * 1024 * 1024
"""An answer of a known length up to this is passed on in one piece."""
_log = logging.getLogger("agentd.gateway")


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


async def handle(hall: Hall, door: Door, request: web.BaseRequest) -> web.StreamResponse:
    """The answer to one request. Whatever goes wrong is told in the dialect of its path."""
    dialect = PATHS.get(request.path) or ("messages" if _speaks_anthropic(request) else "chat")
    visit = Visit(request, dialect)
    try:
        return await _route(hall, door, visit)
    except Refused as refused:
        if refused.status < 500:
            hall.metrics.refused(refused.code)
        return _error(visit, refused)
    except StoreError:
        said = "agentd gateway: its store cannot be used now"
        return _error(visit, Refused(503, "store_unavailable", said, {"retry-after": "5"}, is_retryable=True))
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:  # a mistake of ours; its text might hold what nobody should read
        _log.error("a request failed: %s", type(error).__name__)
        return _error(visit, Refused(500, "gateway_error", f"agentd gateway: {type(error).__name__}"))


async def _route(hall: Hall, door: Door, visit: Visit) -> web.StreamResponse:
    request = visit.request
    path, method = request.path, request.method
    if door.is_public and method == "GET" and path == "/metrics":
        return web.Response(body=hall.metrics.text(), headers={"content-type": "text/plain; version=0.0.4"})
    if method == "GET" and path == "/healthz":
        return web.json_response({"status": "ok"})
    wanted = {**dict.fromkeys((*PATHS, COUNT_TOKENS), "POST"), MODELS: "GET"}.get(path)
    if wanted is None:
        raise Refused(404, "not_found", f"agentd gateway: serves {', '.join((*PATHS, COUNT_TOKENS, MODELS))}")
    if method != wanted:
        raise Refused(405, "method_not_allowed", f"agentd gateway: {path} takes {wanted}", {"allow": wanted})
    key_hash = _key_hash(request)
    visit.grant = await hall.grant_of(door, key_hash, is_free=path in (MODELS, COUNT_TOKENS))
    if path == MODELS:
        return await _models(hall, visit)
    raw = await _body(request, hall.settings.max_body_bytes)
    if path == COUNT_TOKENS:
        return await _count_tokens(hall, visit, raw)
    return await _call(hall, door, visit, key_hash, raw)


async def _call(hall: Hall, door: Door, visit: Visit, key_hash: str, raw: bytes) -> web.StreamResponse:
    """A call that costs something."""
    grant, dialect = _granted(visit), visit.dialect
    try:
        asked = read_request(dialect, raw, grant.request_extra)
    except BadRequest as problem:
        raise Refused(400, "invalid_request", f"agentd gateway: {problem}") from None
    _require_model(grant, asked.model)
    upstream = _upstream(hall, dialect, asked.model)
    now = hall.clock.now()
    day = now.date().isoformat()
    found = hall.bounds(Caller(grant.run_id, grant.task_id, grant.profile, asked.model), day)
    await hall.priced()
    slip = slip_of(grant, dialect, asked, upstream, hall.prices, hall.settings)
    money = needs_price(found)
    if money is not None and slip.nano_usd is None and await hall.is_hard():
        refused, verdict = refusals.no_price(money.key, asked.model)
        door.tell("hard", grant.run_id, verdict)
        raise refused
    call = slip.row(hall.writer.gateway, hall.clock, day)
    ticket = Ticket(
        call,
        hall.prices,
        hall.metrics,
        hall.writer.settle,
        lambda verdict: door.tell("soft", grant.run_id, verdict),
    )
    said = await hall.writer.reserve(ticket.reservation(found, key_hash, door.name), hall.settings.wait_seconds)
    if said.outcome == "key":
        raise refusals.no_key()
    if said.outcome != "admit" and said.verdict is not None:
        if said.outcome == "wait":
            raise refusals.no_room(said.verdict)
        door.tell("hard", grant.run_id, said.verdict)
        hall.metrics.refused(said.verdict.rule_id)
        raise refusals.over_budget(said.verdict, hall.clock.now())
    with hall.metrics.in_flight.track_inprogress():
        try:
            return await _exchange(hall, door, visit, upstream, asked.body, ticket)
        finally:
            ticket.settle()


async def _exchange(
    hall: Hall, door: Door, visit: Visit, upstream: Upstream, body: bytes, ticket: Ticket
) -> web.StreamResponse:
    """Out to the service and back."""
    try:
        async with _sent(hall, visit, upstream, upstream.url(visit.dialect), "POST", body) as answer:
            if answer.status != 200:
                ticket.is_free, ticket.status = True, answer.status
                return await _failed(hall, door, visit, upstream, answer, ticket)
            ticket.tee = Tee(visit.dialect, is_stream=answer.content_type == "text/event-stream")
            return await _passed_on(visit, upstream, answer, ticket)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        ticket.is_free = True
        raise _told(hall, door, visit, refusals.unreachable(upstream, error), upstream, ticket) from None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _told(hall, door, visit, refusals.unreachable(upstream, error), upstream, ticket) from None


async def _passed_on(
    visit: Visit, upstream: Upstream, answer: aiohttp.ClientResponse, ticket: Ticket
) -> web.StreamResponse:
    """The answer's bytes, unchanged. The call is settled before the client reads the last of them."""
    headers = incoming(answer.headers, upstream.secrets())
    headers.update(visit.headers())
    headers.setdefault("x-request-id", visit.request_id)
    tee = ticket.tee
    assert tee is not None
    length = answer.content_length
    if length is not None and length <= AT_ONCE_BYTES and answer.content_type != "text/event-stream":
        body = await answer.read()
        tee.feed(body)
        ticket.status, ticket.is_whole = answer.status, True
        ticket.settle()
        return web.Response(status=answer.status, headers=headers, body=body)
    response = web.StreamResponse(status=answer.status, headers=headers)
    if length is not None:
        response.content_length = length
    await response.prepare(visit.request)
    while True:
        try:
            piece = await answer.content.readany()
        except (aiohttp.ClientError, TimeoutError):
            # The client must see that something is missing.
            ticket.status = 502
            _cut(visit.request)
            return response
        if not piece:
            break
        tee.feed(piece)
        await response.write(piece)
    ticket.status, ticket.is_whole = answer.status, True
    ticket.settle()
    await response.write_eof()
    return response


async def _failed(
    hall: Hall, door: Door, visit: Visit, upstream: Upstream, answer: aiohttp.ClientResponse, ticket: Ticket
) -> web.Response:
    """An error of the service: as one of the gateway's own, or passed on when it is about the request."""
    body = await answer.content.read(LONGEST_ERROR)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    trouble = refusals.trouble_of(upstream, answer.status, headers, body, hall.clock.now())
    passed = incoming(answer.headers, upstream.secrets())
    if trouble is not None:
        ids = {name: value for name, value in passed.items() if name.lower() in ("x-request-id", "request-id")}
        refused = _told(hall, door, visit, trouble, upstream, ticket)
        refused.headers = {**ids, **refused.headers}
        raise refused
    passed.update(visit.headers(retryable=False))
    passed.setdefault("x-request-id", visit.request_id)
    ticket.settle()
    return web.Response(status=answer.status, headers=passed, body=without(body, hall.upstreams.secrets()))


def _told(
    hall: Hall, door: Door, visit: Visit, trouble: Trouble, upstream: Upstream, ticket: Ticket | None = None
) -> Refused:
    """Tell the owner, and return what the client is told."""
    if ticket is not None:
        ticket.status = trouble.refused.status
        ticket.settle()
    hall.metrics.trouble(upstream.name, trouble.verdict.rule_id)
    door.tell(trouble.kind, _granted(visit).run_id, trouble.verdict)
    return trouble.refused


async def _count_tokens(hall: Hall, visit: Visit, raw: bytes) -> web.StreamResponse:
    """Anthropic's counting of tokens is free, and passed through."""
    visit.dialect = "messages"
    try:
        model = model_of(parse_object(raw))
    except BadRequest as problem:
        raise Refused(400, "invalid_request", f"agentd gateway: {problem}") from None
    _require_model(_granted(visit), model)
    upstream = _upstream(hall, "messages", model)
    return await _free(hall, visit, upstream, upstream.url("messages", "/messages/count_tokens"), "POST", raw)


async def _models(hall: Hall, visit: Visit) -> web.StreamResponse:
    """The models that the run may name, or the service's own list."""
    grant = _granted(visit)
    if grant.models:
        rows: list[dict[str, Any]]
        if visit.dialect == "messages":
            rows = [{"type": "model", "id": name, "display_name": name} for name in grant.models]
        else:
            rows = [{"id": name, "object": "model", "created": 0, "owned_by": "agentd"} for name in grant.models]
        body = {"object": "list", "data": rows, "has_more": False}
        return web.json_response(body, headers=visit.headers())
    dialect = visit.dialect
    upstream = hall.upstreams.of(dialect, None) or hall.upstreams.of("responses", None)
    if upstream is None:
        raise Refused(404, "no_upstream", f"agentd gateway: no service speaks {dialect}")
    return await _free(hall, visit, upstream, upstream.url(dialect, "/models"), "GET", None)


async def _free(
    hall: Hall, visit: Visit, upstream: Upstream, url: str, method: str, body: bytes | None
) -> web.StreamResponse:
    """A call that costs nothing."""
    try:
        async with _sent(hall, visit, upstream, url, method, body) as answer:
            found = await answer.content.read(AT_ONCE_BYTES)
            if answer.status != 200:
                headers = {name.lower(): value for name, value in answer.headers.items()}
                trouble = refusals.trouble_of(upstream, answer.status, headers, found, hall.clock.now())
                if trouble is not None:
                    hall.metrics.trouble(upstream.name, trouble.verdict.rule_id)
                    raise trouble.refused
                found = without(found, hall.upstreams.secrets())
            headers_back = incoming(answer.headers, upstream.secrets())
            headers_back.update(visit.headers())
            return web.Response(status=answer.status, headers=headers_back, body=found)
    except (aiohttp.ClientError, TimeoutError) as error:
        trouble = refusals.unreachable(upstream, error)
        hall.metrics.trouble(upstream.name, trouble.verdict.rule_id)
        raise trouble.refused from None


@asynccontextmanager
async def _sent(
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


async def _body(request: web.BaseRequest, most: int) -> bytes:
    """The request's bytes. Raises Refused when there are too many, or too slow, or not what was announced."""
    too_long = Refused(413, "request_too_large", f"agentd gateway: a request may have {most} bytes")
    if (request.content_length or 0) > most:
        raise too_long
    if request.headers.get("expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while piece := await request.content.readany():
                found += piece
                if len(found) > most:
                    raise too_long
    except TimeoutError:
        raise Refused(408, "request_timeout", f"agentd gateway: no whole request in {BODY_SECONDS:g} s") from None
    except (aiohttp.ClientPayloadError, web.RequestPayloadError, HttpProcessingError):
        raise Refused(400, "invalid_request", "agentd gateway: the body is not as its headers say") from None
    return bytes(found)


def _key_hash(request: web.BaseRequest) -> str:
    """The hash of the key, from either header. Raises Refused."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    for key in (request.headers.get("x-api-key", ""), bearer.strip() if scheme.lower() == "bearer" else ""):
        found = hash_of(key)
        if found is not None:
            return found
    raise refusals.no_key()


def _require_model(grant: Grant, model: str) -> None:
    if grant.models and model not in grant.models:
        allowed = ", ".join(grant.models)
        raise Refused(403, "model_not_allowed", f"agentd gateway: this run may use {allowed}, not {model}")


def _upstream(hall: Hall, dialect: Dialect, model: str) -> Upstream:
    found = hall.upstreams.of(dialect, model)
    if found is None:
        raise Refused(400, "no_upstream", f"agentd gateway: no service speaks {dialect} and has the model {model}")
    return found


def _granted(visit: Visit) -> Grant:
    assert visit.grant is not None
    return visit.grant


def _speaks_anthropic(request: web.BaseRequest) -> bool:
    return request.path == COUNT_TOKENS or "anthropic-version" in request.headers


def _error(visit: Visit, refused: Refused) -> web.Response:
    headers: Mapping[str, str] = {
        "x-request-id": visit.request_id,
        **visit.headers(retryable=refused.is_retryable),
        **refused.headers,
    }
    body = error_body(visit.dialect, refused.status, refused.code, refused.message)
    return web.json_response(body, status=refused.status, headers=headers)


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
